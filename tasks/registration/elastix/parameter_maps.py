"""Conversion of a preset to elastix parameter maps; no other module uses elastix parameters.

Every metric weight is set explicitly: published maps leave ``Metric1Weight`` unset, so that the
weight of a penalty depends on the elastix version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from synthct.tasks.registration.preset import BSplineStep, Pyramid, RigidStep

ParameterMap = dict[str, list[str]]

_SEED_BITS = (1 << 31) - 1
"""Bit mask of the seed, which elastix reads as a 32-bit integer."""

_PYRAMIDS: Mapping[Pyramid, str] = {
    "smoothing": "SmoothingImagePyramid",
    "recursive": "RecursiveImagePyramid",
}


def rigid_map(step: RigidStep, *, centre_mm: Sequence[float], seed: int) -> ParameterMap:
    """Parameters of the rigid step; ``centre_mm`` (z, y, x) is the centre of rotation."""
    return {
        **_common(step.pyramid_factors, step.iterations, step.samples, "recursive", seed),
        "Registration": ["MultiResolutionRegistration"],
        "Transform": ["EulerTransform"],
        "CenterOfRotationPoint": [_number(value) for value in reversed(centre_mm)],
        "AutomaticTransformInitialization": ["false"],
        "AutomaticScalesEstimation": ["true"],
        # By default elastix erodes masks, which can empty those of a small scan at a coarse level.
        "ErodeMask": ["false"],
        "ImageSampler": ["RandomCoordinate"],
        "BSplineInterpolationOrder": ["1"],
        "Interpolator": ["LinearInterpolator"],
        "Metric": ["AdvancedMattesMutualInformation"],
        "NumberOfHistogramBins": [str(step.bins)],
    }


def bspline_map(
    step: BSplineStep, *, sample_region_mm: float, stiff: Path | None, seed: int
) -> ParameterMap:
    """Parameters of the B-spline step.

    Parameters
    ----------
    sample_region_mm
        Side of the random sample cube, already limited to the scan [mm]; 0: the whole mask.
    stiff
        Image of rigidity coefficients (0 soft, 1 bone) in the moving frame; required where
        ``rigidity_weight`` is positive.
    """
    metrics = [("AdvancedMattesMutualInformation", 1.0)]
    metrics.append(("TransformBendingEnergyPenalty", step.bending_weight))
    if step.rigidity_weight > 0 and stiff is not None:
        metrics.append(("TransformRigidityPenalty", step.rigidity_weight))
    common = _common(step.pyramid_factors, step.iterations, step.samples, step.pyramid, seed)
    count = len(metrics)
    parameters = {
        **common,
        "Registration": ["MultiMetricMultiResolutionRegistration"],
        # Same cubic B-spline as BSplineTransform, but evaluated 2.5 times faster (measured).
        "Transform": ["RecursiveBSplineTransform"],
        "FinalGridSpacingInPhysicalUnits": [_number(step.grid_mm)] * 3,
        "GridSpacingSchedule": [_number(factor) for factor in step.grid_schedule],
        "Metric": [name for name, _ in metrics],
        "NumberOfHistogramBins": [str(step.bins)],
        "ErodeMask": [_flag(step.erode_mask)],
        "ImageSampler": ["RandomCoordinate"] * count,
        "FixedImagePyramid": common["FixedImagePyramid"] * count,
        "MovingImagePyramid": common["MovingImagePyramid"] * count,
        "ASGDParameterEstimationMethod": ["DisplacementDistribution"],
        **_interpolator(step.interpolation_order, count),
    }
    for number, (_, weight) in enumerate(metrics):
        parameters[f"Metric{number}Weight"] = [_number(weight)]
    if sample_region_mm > 0:
        parameters["UseRandomSampleRegion"] = ["true"]
        parameters["SampleRegionSize"] = [_number(sample_region_mm)] * 3
    if count == 3:
        parameters |= _rigidity(stiff)
    return parameters


def _rigidity(stiff: Path | None) -> ParameterMap:
    """Linearity, orthonormality and properness conditions at weight 1 (Staring et al.)."""
    return {
        "UseFixedRigidityImage": ["false"],
        "UseMovingRigidityImage": ["true"],
        "MovingRigidityImageName": [str(stiff)],
        "DilateRigidityImages": ["true"],
        "LinearityConditionWeight": ["1.0"],
        "OrthonormalityConditionWeight": ["1.0"],
        "PropernessConditionWeight": ["1.0"],
        "UseLinearityCondition": ["true"],
        "UseOrthonormalityCondition": ["true"],
        "UsePropernessCondition": ["true"],
    }


def _interpolator(order: int, count: int) -> ParameterMap:
    if order == 1:
        return {"Interpolator": ["LinearInterpolator"] * count}
    return {
        "Interpolator": ["BSplineInterpolator"] * count,
        "BSplineInterpolationOrder": [str(order)],
    }


def _common(
    factors: Sequence[int], iterations: Sequence[int], samples: int, pyramid: Pyramid, seed: int
) -> ParameterMap:
    return {
        "FixedImageDimension": ["3"],
        "MovingImageDimension": ["3"],
        "FixedInternalImagePixelType": ["float"],
        "MovingInternalImagePixelType": ["float"],
        "UseDirectionCosines": ["true"],
        "FixedImagePyramid": [f"Fixed{_PYRAMIDS[pyramid]}"],
        "MovingImagePyramid": [f"Moving{_PYRAMIDS[pyramid]}"],
        "NumberOfResolutions": [str(len(factors))],
        "ImagePyramidSchedule": [str(factor) for factor in factors for _ in range(3)],
        "MaximumNumberOfIterations": [str(count) for count in iterations],
        "NumberOfSpatialSamples": [str(samples)],
        "NewSamplesEveryIteration": ["true"],
        "CheckNumberOfSamples": ["true"],
        "MaximumNumberOfSamplingAttempts": ["8"],
        "Optimizer": ["AdaptiveStochasticGradientDescent"],
        "AutomaticParameterEstimation": ["true"],
        "HowToCombineTransforms": ["Compose"],
        "RandomSeed": [str(seed & _SEED_BITS)],
        "ResampleInterpolator": ["FinalLinearInterpolator"],
        "Resampler": ["DefaultResampler"],
    }


def _number(value: float) -> str:
    return repr(float(value))


def _flag(value: bool) -> str:
    return "true" if value else "false"
