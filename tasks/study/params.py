"""The ``study`` section of ``params.yaml``: what is compared with what, on which pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from synthct.data.section import Section
from synthct.tasks.evaluation.profiles import HU_BANDS
from synthct.tasks.models.description import SourceScaling
from synthct.tasks.training.params import PlugIn, Source, WeightedPlugIn

CONTROL = "none"
"""The arm that every other one is compared with: the unchanged recipe of ``training``."""

Outcome = Literal[
    "bias_hu", "bone_missed", "noise_gain_hu", "int8_hu", "shifted_hu", "coverage_gap", "wrong_hu"
]
"""Measured beside image metrics; less is better in all. Defined in ``tasks/study/outcomes.py``."""

REPLICATE = "replicate-"
"""Prefix of the arms that repeat the control with other seeds."""


def is_replicate(arm: str) -> bool:
    """Whether the arm is the control again: it differs only by the randomness of training."""
    return arm.startswith(REPLICATE)


_NAME = r"^[a-z0-9][a-z0-9_.-]*$"


def band_metrics(metrics: Sequence[str]) -> list[str]:
    """Names of the errors by tissue that ``hu_bands`` reports; empty if it is not listed."""
    return [f"mae_hu_{band}" for band in HU_BANDS] if "hu_bands" in metrics else []


class Arm(Section):
    """A variant of the workspace's ``training`` section."""

    name: str = Field(pattern=_NAME)
    """Its name in tables."""
    regularizers: tuple[WeightedPlugIn, ...] = ()
    """Added after those of ``training.regularizers``."""
    weights: tuple[float, ...] = ()
    """Strengths to try for the last regularizer. Validation patients choose one for each fold.
    Empty: its own ``weight`` is used."""
    network: PlugIn | None = None
    """Instead of ``training.network``."""
    patch_size: tuple[int, ...] | None = None
    """Instead of the source's own [voxels]; (Z, Y, X) for 3-D networks."""
    losses: tuple[WeightedPlugIn, ...] | None = None
    """Instead of ``training.losses``."""
    promise: str | None = None
    """The outcome that the arm's publication claims to improve, one of ``outcomes`` or of
    ``metrics``. The arm is judged by it as well as by the first metric."""
    source_scaling: SourceScaling | None = None
    """Instead of the source's own."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.weights and not self.regularizers:
            raise ValueError("weights are tried for the last regularizer, but there is none")
        chosen = self.regularizers[:-1] if self.weights else self.regularizers
        if unset := [one.name for one in chosen if "weight" not in one.model_fields_set]:
            raise ValueError(f"{unset[0]}: a regularizer needs a weight, which has no default")
        if any(not weight > 0 for weight in self.weights):
            raise ValueError("weights to try must be above 0 (the control is 0 already)")
        if len(set(self.weights)) < len(self.weights):
            raise ValueError("each weight to try may be listed only once")
        return self


class Pairs(Section):
    """The CT that networks are trained to predict."""

    name: str = Field(pattern=_NAME)
    """Its name in tables."""
    alignment: str = Field("truth", pattern=_NAME)
    """``truth`` (digital patients: the CT of the source's own day), ``registered`` (as the
    registration stage left it), ``delivered`` (resampled without any registration) or the name of
    a registration method."""
    misregistration_mm: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Mean length of a smooth random displacement inside the body, applied to the CT of training
    and validation cases [mm]. Test cases are not moved."""


class StudyParams(Section):
    """A comparison: every arm, weight, set of pairs, fold and seed is trained once."""

    source: Source = "mr"
    """Source modality."""
    arms: tuple[Arm, ...] = Field(min_length=1)
    """What is compared with the control, which is always included."""
    pairs: tuple[Pairs, ...] = (Pairs(name="clean"),)
    """Sets of pairs to train on."""
    score_on: tuple[str, ...] = ("truth",)
    """References of the test cases: ``truth``, ``registered`` or registration methods. Effects are
    measured on the first."""
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    """Repetitions with other initial weights and patches, on the same folds."""
    replicates: int = Field(1, ge=0, le=20)
    """Repetitions of the control with other initial weights and patches than any arm has. They
    show how far two runs of the same recipe differ: the floor of the tables."""
    metrics: tuple[str, ...] = ("mae_hu", "psnr_db", "ms_ssim")
    """Image metrics of every test case. The first is tested for significance."""
    outcomes: tuple[Outcome, ...] = ()
    """What else is measured of every network, beside image metrics."""
    choose_by: Literal["validation"] = "validation"
    """Strengths are chosen on validation patients, never on test patients."""
    draws: int = Field(2000, ge=100)
    """Bootstrap samples of patients."""
    significance: float = Field(0.05, gt=0, lt=1)
    """Family-wise error rate of Holm's correction."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for what, names in (
            ("arms", [CONTROL, *(arm.name for arm in self.arms)]),
            ("pairs", [each.name for each in self.pairs]),
            ("score_on", list(self.score_on)),
            ("seeds", list(map(str, self.seeds))),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(
                    f"{what}: {', '.join(twice)} is listed twice ({CONTROL!r} is always included)"
                )
        if taken := [arm.name for arm in self.arms if is_replicate(arm.name)]:
            raise ValueError(f"arms: {', '.join(taken)}: names in {REPLICATE}* are for replicates")
        known = {*self.outcomes, *self.metrics, *band_metrics(self.metrics)}
        if wrong := [a.promise for a in self.arms if a.promise and a.promise not in known]:
            raise ValueError(
                f"promise {', '.join(wrong)} is not measured; listed are {', '.join(sorted(known))}"
            )
        if not self.score_on or not self.metrics or not self.pairs:
            raise ValueError("pairs, score_on and metrics must each have at least one entry")
        return self

    @property
    def alignments(self) -> tuple[str, ...]:
        """Every alignment that is trained or scored on, sorted."""
        return tuple(sorted({*self.score_on, *(each.alignment for each in self.pairs)}))
