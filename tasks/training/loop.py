"""The training loop: steps, validations, checkpoints; resumes bit-identically after a kill."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from synthct.tasks.models.contracts import Batch
from synthct.tasks.pipeline.events import emit
from synthct.tasks.pipeline.randomness import derive_seed
from synthct.tasks.regularization.base import Step
from synthct.tasks.training.compose import Composition
from synthct.tasks.training.descent import Descent
from synthct.tasks.training.optimisation import learning_rate, make_optimizer, moving_average
from synthct.tasks.training.params import TrainingParams
from synthct.tasks.training.patches import PatchSampler, ahead
from synthct.tasks.training.run_state import Progress, load_checkpoint, save_checkpoint
from synthct.tasks.training.team import Team, on
from synthct.tasks.training.validation import Validation

EVENT_PERIOD_S = 1.0
"""Shortest time between two ``step`` events."""


class Watcher(Protocol):
    """Observes a run; it must not change the run."""

    def __call__(self, step: int, numbers: dict[str, float]) -> None:
        """Take numbers by name after step ``step`` (from 1)."""


ALONE = Team()


def strength_column(label: str) -> str:
    """Column of the history with a strength that is learned."""
    return f"strength_{label}"


VECTOR_CHANNELS = 8
"""Channels of a vector register of float32 on a processor with AVX2."""


def has_narrow_shortcuts(model: nn.Module) -> bool:
    """Whether channels last must be avoided.

    In torch 2.13 the backward pass of pointwise convolutions that skip voxels writes beyond its
    memory where they have fewer channels than a vector register, on processors with AVX2 alone.
    """
    return any(
        isinstance(layer, nn.Conv2d)
        and set(layer.kernel_size) == {1}
        and max(layer.stride) > 1
        and min(layer.in_channels, layer.out_channels) < VECTOR_CHANNELS
        for layer in model.modules()
    )


class Loop:
    """One run of one network.

    Parameters
    ----------
    unit
        Name of the run in events and random streams.
    params
        Settings of the run.
    model
        The network, which is moved to ``device``.
    composition
        Losses and regularizers.
    sampler, held_back
        Batches of training and of held-back patches; the latter are for regularizers.
    validation
        Computes the validation error.
    seed
        Seed of the run.
    device
        Device of the network.
    scratch
        Folder of the checkpoint, which survives a kill.
    watch
        Called with the numbers of every ``history_every`` steps.
    team
        The processes that share the run.
    judge_first
        Also validate the weights that the run starts with.
    """

    def __init__(
        self,
        *,
        unit: str,
        params: TrainingParams,
        model: nn.Module,
        composition: Composition,
        sampler: PatchSampler,
        held_back: PatchSampler,
        validation: Validation,
        seed: int,
        device: torch.device,
        scratch: Path,
        watch: Sequence[Watcher] = (),
        team: Team = ALONE,
        judge_first: bool = False,
    ) -> None:
        self.unit, self.params, self.seed, self.device = unit, params, seed, device
        self.model = model.to(device).train()
        flat = sampler.shape.flat and params.precision == "float32"
        if flat and not has_narrow_shortcuts(model):
            # A sixth faster on a CPU, more on a GPU. In bfloat16 a CPU's group norms take three
            # times as long with channels last.
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.composition, self.sampler, self.held_back = composition, sampler, held_back
        self.validation, self.scratch, self.watch = validation, scratch, tuple(watch)
        self.compiled = torch.compile(self.model) if params.compile else self.model
        self.optimizer = make_optimizer(self.model, params.optimizer)
        decay = params.optimizer.ema_decay
        self.average = moving_average(self.model, decay) if decay else None
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}
        voxels = sum(int(case.body.sum()) for case in sampler.cases)
        seen = params.batch * math.prod(sampler.shape.size)
        self.steps_per_epoch = max(1, round(voxels / seen))
        self.team, self.judge_first = team, judge_first
        self.descent = Descent(
            unit, self.model, composition, self.optimizer, device, team, self.progress
        )
        if team.size > 1:
            self.descent.check_team(params.batch)

    def run(self) -> None:
        """Train to the last step, from the checkpoint if there is one."""
        self._resume()
        if self.judge_first and self.team.leads and not self.best:
            self._validate()
        first, started, reported = self.progress.step, time.monotonic(), 0.0
        steps = range(first, self.params.steps)
        for number, batch in zip(steps, ahead(self.sampler.batch, steps), strict=True):
            terms = self._step(number, on(batch, self.device))
            self.progress.step = number + 1
            row = self._record(terms)
            now = time.monotonic()
            if self.team.leads and (
                now - reported >= EVENT_PERIOD_S or number + 1 == self.params.steps
            ):
                rate = (number + 1 - first) / (now - started)
                self._report(terms, rate)
                reported = now
            if row:
                for watcher in self.watch:
                    watcher(number + 1, row)
            if self.team.leads and (number + 1) % self.params.checkpoint_every == 0:
                save_checkpoint(self.scratch, self._state())

    @property
    def judged(self) -> nn.Module:
        """The network that is validated, before ``kept``: the moving average if there is one."""
        return self.average.module if self.average else self.model

    def forward(self, model: nn.Module, source: Tensor) -> Tensor:
        """The network at the run's precision."""
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.params.precision == "bfloat16"
        ):
            run = self.compiled if model is self.model else model
            out: Tensor = run(source.to(self.device))
        return out

    def _step(self, number: int, batch: Batch) -> dict[str, float]:
        step = self._begin(number, batch)
        step = self.composition.perturb(step)
        for group in self.optimizer.param_groups:
            group["lr"] = step.learning_rate
        values, step = self.descent.gradients(step)
        self.composition.gradient(replace(step, objective=lambda: self._again(step)))
        if self.params.optimizer.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.params.optimizer.clip_norm)
        self.optimizer.step()
        self.composition.project(step)
        if self.average:
            self.average.update_parameters(self.model)
        return values

    def _begin(self, number: int, batch: Batch) -> Step:
        seed = derive_seed(self.seed, self.unit, "step", str(number))
        step = Step(
            batch=batch,
            model=self.model,
            number=number,
            total=self.params.steps,
            epoch=number // self.steps_per_epoch,
            seed=seed,
            run=self._seeded_run(seed),
            objective=_no_objective_yet,
            validation=lambda: on(self.held_back.batch(number), self.device),
            learning_rate=learning_rate(number, self.params.steps, self.params.optimizer),
        )
        if number == 0:
            self.composition.begin(step)
        return step

    def _seeded_run(self, seed: int) -> Callable[[Tensor], Tensor]:
        """The forward pass; random layers draw the same numbers in every pass of a step."""

        def run(source: Tensor) -> Tensor:
            torch.manual_seed(seed)
            return self.forward(self.model, source)

        return run

    def _again(self, step: Step) -> Tensor:
        return self.composition.evaluate(step, again=True).value

    def _record(self, terms: dict[str, float]) -> dict[str, float]:
        """Accumulate the terms; at the end of an interval add and return a row of the history."""
        done = self.progress
        for label, value in terms.items():
            done.sums[label] = done.sums.get(label, 0.0) + value
        done.summed += 1
        last = done.step == self.params.steps
        validate = last or done.step % self.params.validation_every == 0
        if not (validate or done.step % self.params.history_every == 0):
            return {}
        row = {label: total / done.summed for label, total in done.sums.items()}
        for label in self.composition.learned:
            row[strength_column(label)] = self.composition.strengths[label]
        row["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        if validate and self.team.leads:
            row["validation_mae_hu"] = self._validate()
        done.history.append({"step": done.step, **row})
        done.sums, done.summed = {}, 0
        return row

    def _validate(self) -> float:
        released = self.composition.kept(self.judged)
        mae_hu = self.validation.mae_hu(released, self.forward)
        if mae_hu < self.progress.best_mae_hu or not self.best:
            self.progress.best_mae_hu, self.progress.best_step = mae_hu, self.progress.step
            self.best = copy.deepcopy(released.state_dict())
        return mae_hu

    def _report(self, terms: dict[str, float], rate: float) -> None:
        best = self.progress.best_mae_hu
        emit(
            "step",
            stage="training",
            unit=self.unit,
            step=self.progress.step,
            total=self.params.steps,
            epoch=self.progress.step // self.steps_per_epoch,
            terms=terms,
            patches_per_s=round(rate * self.params.batch, 2),
            eta_s=round((self.params.steps - self.progress.step) / rate, 1),
            best_validation_mae_hu=best if math.isfinite(best) else None,
        )

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "composition": self.composition.state(),
            "best": self.best,
            "progress": vars(self.progress),
        }

    def _resume(self) -> None:
        state = load_checkpoint(self.scratch)
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.composition.restore(state["composition"])
        self.best = state["best"]
        vars(self.progress).update(state["progress"])
        emit("note", stage="training", text=f"{self.unit}: resumed at step {self.progress.step}")


def _no_objective_yet() -> Tensor:
    raise RuntimeError("the objective was evaluated again before the backward pass ended")
