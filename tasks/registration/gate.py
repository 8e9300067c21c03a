"""Which step of a registration stands, and whether to believe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from tasks.registration.measures import StepMeasures
from tasks.section import Section

StepName = Literal["identity", "rigid", "deformable"]
Verdict = Literal["pass", "suspect", "fail"]


class GateParams(Section):
    """Thresholds of the gate. ``suspect``: training may leave the case out; ``fail``: it must."""

    max_folding_percent: float = Field(0.1, ge=0, le=100)
    """Voxels with det J <= 0 inside the body above which a case is suspect [%]."""
    reject_folding_percent: float = Field(2.0, ge=0, le=100)
    """Folding above which the deformable step is thrown away [%]."""
    max_sd_log_jacobian: float = Field(0.5, gt=0)
    """Roughness of the deformation above which a case is suspect [1]."""
    max_local_mm: float = Field(60.0, gt=0)
    """95th percentile of the displacement beyond the rigid step that is believable [mm]."""
    max_similarity_loss: float = Field(0.05, ge=0, le=1)
    """Share of the edge agreement that a step may lose before it is thrown away [1]."""
    min_information_gain: float = Field(0.05, ge=0)
    """Share by which (normalised mutual information - 1) must grow in a deformable step that moves
    tissue by more than ``still_mm``; one that gains less is thrown away [1]."""
    still_mm: float = Field(3.0, ge=0)
    """95th percentile of the displacement beyond the rigid step that needs no gain to be believed
    [mm]."""
    max_dice_loss: float = Field(0.03, ge=0, le=1)
    """Overlap of the bodies that a step may lose before it is thrown away [1]."""
    max_covered_loss: float = Field(0.1, ge=0, le=1)
    """Share of the body that a step may push out of the CT's field before it is thrown away [1]."""
    min_dice: float = Field(0.80, ge=0, le=1)
    """Dice of the two bodies in the shared field below which a case is suspect [1]."""
    fail_dice: float = Field(0.60, ge=0, le=1)
    """Dice below which a case has failed [1]."""


@dataclass(frozen=True)
class Judgement:
    """The step that stands, the verdict on it and why."""

    step: StepName
    verdict: Verdict
    reason: str


def judge(
    measured: Mapping[StepName, StepMeasures], failures: Mapping[str, str], gate: GateParams
) -> Judgement:
    """Choose the last step that did not make things worse and say how good it is.

    ``measured`` holds ``identity`` and each step that ran; ``failures`` those that did not.
    """
    kept: StepName = "identity"
    doubts: list[str] = []
    order: tuple[StepName, ...] = ("rigid", "deformable")
    for name in order:
        fault = _rejection(name, kept, measured, failures, gate)
        if fault:
            doubts.append(f"{name} step rejected: {fault}")
        else:
            kept = name
    if kept == "identity":
        return Judgement(kept, "fail", "; ".join(doubts))
    doubts += _doubts(measured[kept], gate)
    if measured[kept].dice < gate.fail_dice:
        return Judgement(kept, "fail", "; ".join(doubts))
    return Judgement(kept, "suspect" if doubts else "pass", "; ".join(doubts))


def _rejection(
    name: StepName,
    kept: StepName,
    measured: Mapping[StepName, StepMeasures],
    failures: Mapping[str, str],
    gate: GateParams,
) -> str:
    """Why the step must not stand, or nothing."""
    if name not in measured:
        return failures.get(name, "no earlier step to build on")
    now, before = measured[name], measured[kept]
    if now.edges < before.edges * (1 - gate.max_similarity_loss):
        return f"edge agreement fell from {before.edges:.4f} to {now.edges:.4f}"
    if now.information < before.information and now.edges < before.edges:
        return f"mutual information fell from {before.information:.4f} to {now.information:.4f}"
    if now.local_p95_mm > gate.still_mm and now.information - 1 < (before.information - 1) * (
        1 + gate.min_information_gain
    ):
        return f"moves by {now.local_p95_mm:.0f} mm and gains no mutual information"
    if now.dice < before.dice - gate.max_dice_loss:
        return f"the bodies' overlap fell from {before.dice:.3f} to {now.dice:.3f}"
    if now.covered < before.covered - gate.max_covered_loss:
        return f"{before.covered - now.covered:.0%} of the body leaves the field of the moving scan"
    if now.deformation.folding_percent > gate.reject_folding_percent:
        return f"{now.deformation.folding_percent:.2f} % of the body folds"
    if now.local_p95_mm > gate.max_local_mm:
        return f"moves by {now.local_p95_mm:.0f} mm beyond the rigid step"
    return ""


def _doubts(now: StepMeasures, gate: GateParams) -> list[str]:
    found = []
    if now.deformation.folding_percent > gate.max_folding_percent:
        found.append(f"{now.deformation.folding_percent:.2f} % of the body folds")
    if now.deformation.sd_log_jacobian > gate.max_sd_log_jacobian:
        found.append(f"rough: SD of log-Jacobian {now.deformation.sd_log_jacobian:.2f}")
    if now.dice < gate.min_dice:
        found.append(f"the bodies overlap by a Dice of {now.dice:.2f}")
    return found
