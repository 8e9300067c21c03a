"""Gradients of the objective on one batch, divided into parts where memory requires it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from synthct.data.errors import DataError, MachineError
from synthct.tasks.models.contracts import Batch
from synthct.tasks.regularization.base import Step, splits
from synthct.tasks.training.compose import Composition, Evaluated
from synthct.tasks.training.run_state import Progress
from synthct.tasks.training.team import Team, split, unsplit, weight_of


@dataclass(eq=False)
class Descent:
    """The backward pass of a run.

    A batch that does not fit the device is halved repeatedly, and the gradients of its parts are
    added up, as they are over the processes of a team. The weight of a part is its share of the
    body's voxels, so that means over the body are unchanged.
    """

    unit: str
    model: nn.Module
    composition: Composition
    optimizer: torch.optim.Optimizer
    device: torch.device
    team: Team
    progress: Progress

    def gradients(self, step: Step) -> tuple[dict[str, float], Step]:
        """Terms of the objective and the step, after the backward pass of one batch.

        Raises
        ------
        MachineError
            ``out-of-memory``: the batch cannot be divided further.
        DataError
            ``loss-not-finite``.
        """
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                return self._backward(step)
            except torch.OutOfMemoryError:
                self._halve(len(step.batch.source))
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _backward(self, step: Step) -> tuple[dict[str, float], Step]:
        """Gradients summed over this process's parts, and over the processes."""
        values: dict[str, float] = {}
        parts = split(self.team.part_of(step.batch), self.progress.pieces)
        whole = len(parts) == self.team.size == 1
        for part in parts:
            evaluated = self.composition.evaluate(replace(step, batch=part))
            self._require_finite(evaluated, part)
            share = 1.0 if whole else weight_of(part, step.batch)
            (evaluated.value if whole else evaluated.value * share).backward()  # type: ignore[no-untyped-call]
            for label, term in {"objective": evaluated.value, **evaluated.terms}.items():
                values[label] = values.get(label, 0.0) + share * float(term.detach())
        self.team.sum_gradients(self.model)
        return self.team.summed(values, self.device), evaluated.step if whole else step

    def _halve(self, samples: int) -> None:
        """Divide batches into twice as many parts from this step on, with a remark."""
        fixed = [m.label for m in self.composition.members if not splits(type(m.regularizer))]
        own = -(-samples // self.team.size)
        if fixed or self.progress.pieces >= own:
            need = f"{' and '.join(fixed)} need whole batches" if fixed else "one patch too large"
            raise MachineError(
                f"the device ran out of memory; {need}",
                rule="a training step fits the device's memory",
                where=f"{self.unit} at step {self.progress.step + 1}",
                remedy="lower training.batch or patch_size, or take a larger device",
                code="out-of-memory",
            )
        self.progress.pieces = min(own, 2 * self.progress.pieces)
        size = -(-own // self.progress.pieces)
        kept = [text for text in self.progress.remarks if not text.startswith("out of memory")]
        self.progress.remarks[:] = kept
        seen = "; batch norms see these parts alone" if unsplit(self.model) else ""
        self.progress.remark(
            self.unit,
            f"out of memory at step {self.progress.step + 1}: gradients are accumulated over "
            f"parts of at most {size} patches from here on{seen}",
        )

    def check_team(self, samples: int) -> None:
        """Require, before the first step, that the processes can divide a batch.

        Raises
        ------
        MachineError
            ``cannot-divide``.
        """
        fixed = [m.label for m in self.composition.members if not splits(type(m.regularizer))]
        if fixed or samples < self.team.size:
            raise MachineError(
                f"{', '.join(fixed)} need whole batches"
                if fixed
                else f"{samples} patches cannot be divided among {self.team.size} processes",
                rule="several processes that train one network each take a part of every batch",
                where=self.unit,
                remedy="train with one process",
                code="cannot-divide",
            )
        if unsplit(self.model):
            self.progress.remark(
                self.unit,
                f"batch norms see the parts of {self.team.size} processes alone: the result is "
                "not that of one process; choose instance or group norm",
            )

    def _require_finite(self, evaluated: Evaluated, batch: Batch) -> None:
        if torch.isfinite(evaluated.value):
            return
        bad = [name for name, term in evaluated.terms.items() if not torch.isfinite(term)]
        raise DataError(
            "the training loss is not finite: "
            f"{', '.join(bad) or 'the sum of its terms'}, on cases "
            f"{', '.join(sorted(set(batch.cases)))}",
            rule="the training loss stays finite",
            where=f"{self.unit} at step {self.progress.step + 1}",
            remedy="look at those scans, or lower learning_rate or the weights of the terms; the "
            "last checkpoint is kept next to the result cache",
            code="loss-not-finite",
        )
