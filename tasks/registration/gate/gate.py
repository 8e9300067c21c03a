"""Selection of a registration step, and verdict on its quality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from synthct.data.section import Section
from synthct.tasks.registration.gate.measures import StepMeasures
from synthct.tasks.registration.rigid.competing_poses import CompetingPoses

StepName = Literal["identity", "rigid", "deformable"]
Verdict = Literal["pass", "suspect", "fail"]


class GateParams(Section):
    """Thresholds of the gate. Training may use a ``suspect`` case, but never one that failed."""

    max_folding_percent: float = Field(0.1, ge=0, le=100)
    """Share of the body with Jacobian determinant <= 0 above which a case is suspect [%]."""
    reject_folding_percent: float = Field(2.0, ge=0, le=100)
    """Share above which the deformable step is rejected [%]."""
    max_sd_log_jacobian: float = Field(0.3, gt=0)
    """Standard deviation of the logarithm of the Jacobian determinant above which a case is suspect
    [1]."""
    reject_sd_log_jacobian: float = Field(0.5, gt=0)
    """Standard deviation above which the deformable step is rejected [1]."""
    max_local_mm: float = Field(60.0, gt=0)
    """Largest plausible 95th percentile of the displacement beyond the rigid step [mm]."""
    max_similarity_loss: float = Field(0.05, ge=0, le=1)
    """Fraction of the edge agreement that a step may lose without being rejected [1]."""
    min_information_gain: float = Field(0.05, ge=0)
    """Fraction by which (normalised mutual information - 1) must increase in a deformable step that
    moves tissue by more than ``still_mm``; otherwise it is rejected [1]."""
    still_mm: float = Field(3.0, ge=0)
    """95th percentile of the displacement beyond the rigid step up to which no gain is needed [mm].
    """
    max_dice_loss: float = Field(0.03, ge=0, le=1)
    """Loss of Dice of the bodies above which a step is rejected [1]."""
    max_covered_loss: float = Field(0.1, ge=0, le=1)
    """Share of the body moved out of the CT's field of view above which a step is rejected [1]."""
    min_dice: float = Field(0.80, ge=0, le=1)
    """Dice of the bodies in the common field of view below which a case is suspect [1]."""
    fail_dice: float = Field(0.60, ge=0, le=1)
    """Dice below which a case has failed [1]."""
    max_air: float = Field(0.08, ge=0, le=1)
    """Share of the mask more than 8 mm outside the moved CT's body above which a case is suspect
    [1]: there a network would learn that tissue is air. The limit of the check ``mask_air``."""
    max_bone_strain: float = Field(0.18, gt=0)
    """Mean strain of bone above which a case is suspect [1]."""
    reject_bone_strain: float = Field(0.25, gt=0)
    """Mean strain of bone above which the deformable step is rejected [1]."""
    competing_starts: int = Field(5, ge=0, le=12)
    """Distant poses from which a competing pose is searched for; 0: none."""
    competing_near_mm: float = Field(15.0, gt=0)
    """Mean distance in the body from which on a pose counts as another one [mm]."""
    max_competing_gain: float = Field(0.10, ge=0)
    """Fraction by which (normalised mutual information - 1) of a competing pose may exceed that of
    the rigid step before a case is suspect [1]."""
    fail_competing_gain: float = Field(0.50, ge=0)
    """Fraction above which it has failed [1]."""
    min_over_chance: float = Field(0.10, ge=0)
    """Fraction by which (normalised mutual information - 1) of the rigid step must exceed that of
    the best distant pose before any search. Below it, a case is suspect; below 0, it has failed
    [1]."""
    search_globally: bool = True
    """Search all poses for a start when a case has failed or a competing pose was found, and
    register once more from there."""
    register_back: bool = False
    """Also register the CT as the fixed scan, which takes a second registration."""
    max_round_trip_mm: float = Field(10.0, gt=0)
    """95th percentile of the inverse-consistency error above which a case is suspect [mm]."""


@dataclass(frozen=True)
class Judgement:
    """Selected step, verdict and reason."""

    step: StepName
    verdict: Verdict
    reason: str


def judge(
    measured: Mapping[StepName, StepMeasures],
    failures: Mapping[str, str],
    gate: GateParams,
    competing: CompetingPoses | None = None,
) -> Judgement:
    """Select the last step that did not degrade the alignment, and give the verdict.

    ``measured`` holds ``identity`` and each step that succeeded, ``failures`` those that failed,
    ``competing`` the competing poses.
    """
    kept: StepName = "identity"
    doubts: list[str] = []
    order: tuple[StepName, ...] = ("rigid", "deformable")
    for name in order:
        reason = _rejection(name, kept, measured, failures, gate)
        if reason:
            doubts.append(f"{name} step rejected: {reason}")
        else:
            kept = name
    if kept == "identity":
        return Judgement(kept, "fail", "; ".join(doubts))
    doubts += _doubts(measured[kept], gate)
    failed = measured[kept].dice < gate.fail_dice
    if competing is not None:
        words, hopeless = objections(competing, gate)
        doubts += words
        failed = failed or hopeless
    if failed:
        return Judgement(kept, "fail", "; ".join(doubts))
    return Judgement(kept, "suspect" if doubts else "pass", "; ".join(doubts))


def doubted(judgement: Judgement, doubt: str) -> Judgement:
    """The judgement with a further reason for doubt: pass becomes suspect."""
    verdict = "suspect" if judgement.verdict == "pass" else judgement.verdict
    return Judgement(judgement.step, verdict, "; ".join(filter(None, (judgement.reason, doubt))))


def objections(competing: CompetingPoses, gate: GateParams) -> tuple[list[str], bool]:
    """Reasons for doubt from competing poses, and whether the case has failed by them."""
    words = []
    over_chance = (competing.rigid - 1) / max(competing.chance - 1, 1e-9) - 1
    if over_chance < gate.min_over_chance:
        words.append(
            f"no pose stands out: mutual information {competing.rigid:.4f}, "
            f"{competing.chance:.4f} at a far pose by chance"
        )
    better = competing.gain > gate.max_competing_gain
    if better:
        words.append(
            f"a pose {competing.distance_mm:.0f} mm away explains the pair better: "
            f"mutual information {competing.best:.4f} against {competing.rigid:.4f}"
        )
    return words, over_chance < 0 or competing.gain > gate.fail_competing_gain


def _rejection(
    name: StepName,
    kept: StepName,
    measured: Mapping[StepName, StepMeasures],
    failures: Mapping[str, str],
    gate: GateParams,
) -> str:
    """Reason for rejecting the step; empty if it is accepted."""
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
    if now.deformation.sd_log_jacobian > gate.reject_sd_log_jacobian:
        return f"rough: SD of log-Jacobian {now.deformation.sd_log_jacobian:.2f}"
    if now.bone.strain > gate.reject_bone_strain:
        return f"bone is strained by {now.bone.strain:.0%} on average"
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
    if now.air > gate.max_air:
        found.append(f"{now.air:.0%} of the mask lies in the air around the moved body")
    if now.bone.strain > gate.max_bone_strain:
        found.append(f"bone is strained by {now.bone.strain:.0%} on average")
    return found
