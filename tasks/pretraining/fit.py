"""Pretrains one network: the unit function of the pretraining stage."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from synthct.data.errors import DataError
from synthct.data.files import canonical_json, write_whole
from synthct.data.tables import write_table
from synthct.data.volume import Modality, Triple
from synthct.tasks.models.description import SourceScaling
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.pipeline.artefacts import HISTORY, PRETRAINED, WEIGHTS
from synthct.tasks.pipeline.events import emit
from synthct.tasks.pipeline.randomness import derive_seed
from synthct.tasks.pretraining.base import Memory, Objective, Views, effective_rank
from synthct.tasks.pretraining.network import Learner, StepFeatures, make_learner
from synthct.tasks.pretraining.objectives import OBJECTIVES
from synthct.tasks.pretraining.params import PretrainingParams
from synthct.tasks.pretraining.scans import Scan, open_scan
from synthct.tasks.pretraining.torchscript import save_script, scripted
from synthct.tasks.pretraining.views import ViewSampler
from synthct.tasks.training.optimisation import learning_rate, make_optimizer
from synthct.tasks.training.params import Source, TrainingParams
from synthct.tasks.training.patches import PatchShape, ahead
from synthct.tasks.training.precision import chosen_device
from synthct.tasks.training.run_state import load_checkpoint, save_checkpoint

STAGE, SCRIPT = "pretraining", "features.pt"

EVENT_PERIOD_S = 1.0
"""Shortest time between two ``step`` events."""

Term = tuple[str, float, Objective]
"""Name, weight and objective."""


def pretrain(
    *,
    out: Path,
    scratch: Path,
    unit: str,
    source: Source,
    seed: int,
    spacing_mm: Sequence[float],
    params: Mapping[str, Any],
    training: Mapping[str, Any],
    **files: Path,
) -> None:
    """Train, and write the features, weights, ``pretrained.json`` and ``history.csv`` into ``out``.

    A run that is killed and started again with the same ``scratch`` ends with the same bytes (CPU,
    same number of threads).

    Parameters
    ----------
    unit
        ``SOURCE_foldK``.
    params, training
        ``PretrainingParams`` and ``TrainingParams`` as JSON; of the latter the network, the patch
        and the scaling of the source.
    files
        ``PATIENT/SCAN`` and ``PATIENT/SCAN_body``: stored volumes.
    """
    recipe = PretrainingParams.from_json(params)
    plan = TrainingParams.from_json(training).of_source(source)
    scaling = without_law(plan.recipe(source).source_scaling)
    own = derive_seed(seed, STAGE, unit)
    z, y, x = spacing_mm
    scans = _opened(files, (z, y, x), scaling, scratch, own)
    entry = recipe.chosen(plan)
    network = NETWORKS.build(entry.name, entry.options, where="network")
    size = recipe.patch_size or plan.recipe(source).patch_size
    mean, sd = _units(scans)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(own, "weights"))
        learner = make_learner(network, recipe.layers, size, recipe.dimensions)
        sampler = ViewSampler(
            scans, PatchShape(size, network.slices), recipe.views, recipe.batch, recipe.voxels,
            own, mean, sd,
        )  # fmt: skip
        run = Run(unit, recipe, learner, sampler, _terms(recipe), scratch)
        run.run()
    trunk = learner.student.trunk.cpu()
    flat = network.dimensions == "2.5d"
    script = scripted(
        trunk, slices=network.slices, flat=flat, divisor=network.divisor, mean=mean, sd=sd
    )
    sha256 = save_script(out / SCRIPT, script)
    state = {name: value.contiguous() for name, value in sorted(trunk.model.state_dict().items())}
    write_whole(out / WEIGHTS, save(state))
    columns = ["step", "objective", *(name for name, _, _ in run.terms)]
    write_table(out / HISTORY, [*columns, "effective_rank", "learning_rate"], run.history)
    document = {
        "source": source, "sha256": sha256, "network": entry.as_json(),
        "layers": list(recipe.layers), "channels": trunk.channels,
        "objectives": [one.as_json() for one in recipe.objectives],
        "spacing_mm": list(spacing_mm), "scans": sorted(scan.name for scan in scans),
        "patients": sorted({scan.name.split("/")[0] for scan in scans}),
        "effective_rank": run.history[-1]["effective_rank"], "dimensions": recipe.dimensions,
        "steps": recipe.steps,
    }  # fmt: skip
    write_whole(out / PRETRAINED, canonical_json(document))


def without_law(scaling: SourceScaling) -> SourceScaling:
    """The scaling without a harmonisation whose law only training can determine."""
    unknown = scaling.harmonise is not None and scaling.harmonise.law is None
    return scaling.model_copy(update={"harmonise": None}) if unknown else scaling


def _opened(
    files: Mapping[str, Path], spacing_mm: Triple, scaling: SourceScaling, scratch: Path, seed: int
) -> list[Scan]:
    """The usable scans; the others are named in the log."""
    scans = []
    for name in sorted(files):
        if name.endswith("_body"):
            continue
        try:
            scan = open_scan(
                name, files[name], files[f"{name}_body"], spacing_mm=spacing_mm, scaling=scaling,
                scratch=scratch, seed=seed,
            )  # fmt: skip
        except DataError as error:
            emit("note", stage=STAGE, text=f"{name} is left out: {error}")
            continue
        scans.append(scan)
    if all(scan.modality is Modality.CT for scan in scans):
        raise DataError(
            f"{len(scans)} scans of {len(files) // 2} can be used, and none is of the source",
            rule="pretraining needs a scan of the source on the training side of the fold",
            remedy="add patients, or train fewer folds",
            code="no-scans",
        )
    return scans


def _units(scans: Sequence[Scan]) -> tuple[float, float]:
    """Mean and standard deviation of a body in network units, over the scans of the source."""
    sources = [scan for scan in scans if scan.modality is not Modality.CT]
    mean = sum(scan.mean for scan in sources) / len(sources)
    return mean, sum(scan.sd for scan in sources) / len(sources)


def _terms(params: PretrainingParams) -> list[Term]:
    return [
        (one.name, one.weight, OBJECTIVES.build(one.name, one.options, where="objectives"))
        for one in params.objectives
    ]


@dataclass(eq=False)
class Run:
    """The steps, checkpoints and history of one network."""

    unit: str
    params: PretrainingParams
    learner: Learner
    sampler: ViewSampler
    terms: Sequence[Term]
    scratch: Path
    done: int = 0
    memory: dict[str, Memory] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> None:
        """Run all steps after the last checkpoint."""
        device = chosen_device(self.params.device, "pretraining.device")
        self.learner.to(device).train()
        optimizer = make_optimizer(self.learner, self.params.optimizer)
        self._resume(optimizer)
        reported, begun, first = 0.0, time.monotonic(), self.done
        for views in ahead(self.sampler.batch, range(self.done, self.params.steps)):
            values = self._step(_on(views, device), optimizer)
            self.done += 1
            self._record(values, optimizer.param_groups[0]["lr"])
            last = self.done == self.params.steps
            if last or self.done % self.params.checkpoint_every == 0:
                save_checkpoint(self.scratch, self._state(optimizer))
            now = time.monotonic()
            if last or now - reported >= EVENT_PERIOD_S:
                reported, rate = now, (self.done - first) / max(now - begun, 1e-9)
                eta_s = round((self.params.steps - self.done) / rate, 1)
                emit(
                    "step", stage=STAGE, unit=self.unit, step=self.done, total=self.params.steps,
                    terms=values, eta_s=eta_s,
                )  # fmt: skip

    def _step(self, views: Views, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(self.done, self.params.steps, self.params.optimizer)
        features = StepFeatures(self.learner, views)
        total: Tensor = torch.zeros((), device=views.first.device)
        values = {}
        for name, weight, objective in self.terms:
            value = objective(views, features, self.memory.setdefault(name, {}))
            values[name] = float(value.detach())
            total = total + weight * value
        optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        if self.params.optimizer.clip_norm:
            torch.nn.utils.clip_grad_norm_(
                self.learner.parameters(), self.params.optimizer.clip_norm
            )
        optimizer.step()
        self.learner.follow(self.params.teacher_decay)
        values["objective"] = float(total.detach())
        last = self.done + 1 == self.params.steps
        if last or (self.done + 1) % self.params.history_every == 0:
            values["effective_rank"] = round(effective_rank(features.first), 4)
        return values

    def _record(self, values: dict[str, float], rate: float) -> None:
        """Add to the sums; at the end of an interval a row of the history."""
        rank = values.pop("effective_rank", math.nan)
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.summed += 1
        if math.isnan(rank):
            return
        row = {name: total / self.summed for name, total in self.sums.items()}
        row |= {"step": self.done, "effective_rank": rank, "learning_rate": rate}
        self.history.append(row)
        self.sums, self.summed = {}, 0

    def _state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        return {
            "learner": self.learner.state_dict(), "optimizer": optimizer.state_dict(),
            "done": self.done, "memory": self.memory, "sums": self.sums, "summed": self.summed,
            "history": self.history,
        }  # fmt: skip

    def _resume(self, optimizer: torch.optim.Optimizer) -> None:
        state = load_checkpoint(self.scratch)
        if state is None:
            return
        self.learner.load_state_dict(state.pop("learner"))
        optimizer.load_state_dict(state.pop("optimizer"))
        for name, value in state.items():
            setattr(self, name, value)
        emit("note", stage=STAGE, text=f"{self.unit}: resumed at step {self.done}")


def _on(views: Views, device: torch.device) -> Views:
    tensors = {name: value.to(device) for name, value in vars(views).items() if name != "rng"}
    return replace(views, **tensors)
