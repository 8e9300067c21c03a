"""Thresholds of the gate, separate from the measures so that reading params loads no libraries."""

from __future__ import annotations

from pydantic import Field

from synthct.data.section import Section


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
    max_outside: float = Field(0.10, ge=0, le=1)
    """Share of the mask outside the moved CT's body, however close, above which a case is suspect
    [1]."""
    max_bone_strain: float = Field(0.18, gt=0)
    """Mean strain of bone above which a case is suspect [1]."""
    reject_bone_strain: float = Field(0.25, gt=0)
    """Mean strain of bone above which the deformable step is rejected [1]."""
    max_bone_darkness_loss: float = Field(0.05, ge=0, le=1)
    """Loss of the probability that dense bone is darker in the MR than soft tissue near it, above
    which a step is rejected [1]: it has moved bone away from its position in the MR."""
    min_bone_darkness_gain: float = Field(0.02, ge=0, le=1)
    """Gain of that probability above which a rigid step need not raise mutual information or edge
    agreement, which soft tissue dominates [1]."""
    min_bone_darkness: float = Field(0.60, ge=0, le=1)
    """Probability below which a case is suspect [1]; 0.5 is chance."""
    competing_starts: int = Field(5, ge=0, le=12)
    """Distant poses from which a competing pose is searched for; 0: none."""
    competing_near_mm: float = Field(15.0, gt=0)
    """Mean distance in the body above which a pose counts as a different one [mm]."""
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
