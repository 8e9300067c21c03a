"""Selection of a registration step, and verdict on its quality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from synthct.tasks.registration.gate.measures import AIR_MM, StepMeasures
from synthct.tasks.registration.gate.params import GateParams
from synthct.tasks.registration.rigid.competing_poses import CompetingPoses

StepName = Literal["identity", "rigid", "deformable"]
Verdict = Literal["pass", "suspect", "fail"]


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


def judge_delivered(
    measured: StepMeasures, gate: GateParams, competing: CompetingPoses
) -> Judgement:
    """The verdict on a pair in its delivered alignment."""
    words, hopeless = objections(competing, gate)
    doubts = _doubts(measured, gate) + words
    failed = hopeless or measured.dice < gate.fail_dice
    verdict: Verdict = "fail" if failed else "suspect" if doubts else "pass"
    return Judgement("identity", verdict, "; ".join(doubts))


def doubted(judgement: Judgement, doubt: str) -> Judgement:
    """The judgement with a further reason for doubt: pass becomes suspect."""
    verdict = "suspect" if judgement.verdict == "pass" else judgement.verdict
    return Judgement(judgement.step, verdict, "; ".join(filter(None, (judgement.reason, doubt))))


def objections(competing: CompetingPoses, gate: GateParams) -> tuple[list[str], bool]:
    """Reasons for doubt from competing poses, and whether they make the case fail."""
    words = []
    over_chance = (competing.rigid - 1) / max(competing.chance - 1, 1e-9) - 1
    if over_chance < gate.min_over_chance:
        words.append(
            f"no pose stands out: mutual information {competing.rigid:.4f}, "
            f"{competing.chance:.4f} at the best distant pose"
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
    # A rigid step that aligns bone may worsen soft tissue, which the deformable step corrects.
    improves_bone = name == "rigid" and _darkness_gain(now, before) > gate.min_bone_darkness_gain
    if not improves_bone and (reason := _similarity_loss(now, before, gate)):
        return reason
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
    if _darkness_gain(now, before) < -gate.max_bone_darkness_loss:
        return (
            "dense bone leaves the dark places of the MR: it is darker than soft tissue near it "
            f"with probability {now.bone_darkness:.2f}, before {before.bone_darkness:.2f}"
        )
    if now.bone.strain > gate.reject_bone_strain:
        return f"bone is strained by {now.bone.strain:.0%} on average"
    if now.local_p95_mm > gate.max_local_mm:
        return f"moves by {now.local_p95_mm:.0f} mm beyond the rigid step"
    return ""


def _darkness_gain(now: StepMeasures, before: StepMeasures) -> float:
    """Increase of the bone darkness; 0 where it is not measured."""
    if now.bone_darkness is None or before.bone_darkness is None:
        return 0.0
    return now.bone_darkness - before.bone_darkness


def _similarity_loss(now: StepMeasures, before: StepMeasures, gate: GateParams) -> str:
    if now.edges < before.edges * (1 - gate.max_similarity_loss):
        return f"edge agreement fell from {before.edges:.4f} to {now.edges:.4f}"
    if now.information < before.information and now.edges < before.edges:
        return f"mutual information fell from {before.information:.4f} to {now.information:.4f}"
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
        found.append(
            f"{now.air:.0%} of the mask lies in the air around the moved body, more than "
            f"{AIR_MM:g} mm from it"
        )
    elif now.outside > gate.max_outside:
        found.append(f"{now.outside:.0%} of the mask lies in the air around the moved body")
    if now.bone_darkness is not None and now.bone_darkness < gate.min_bone_darkness:
        found.append(
            "dense bone lies where the MR is not dark: it is darker than soft tissue near it with "
            f"probability {now.bone_darkness:.2f}"
        )
    if now.bone.strain > gate.max_bone_strain:
        found.append(f"bone is strained by {now.bone.strain:.0%} on average")
    return found
