"""Checks of a pair: errors that show only when two scans of one patient are compared.

Frames of reference: two scans with the same one share coordinates, so their bodies overlap.

Exchanged sides: where left and right, or head and feet, are exchanged in one of the scans, the
voxels are in the wrong order under a correct header. The CT, registered rigidly to the source, then
fits better as its mirror image than as itself, because organs are not symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from synthct.data.itk import to_itk
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity

DIFFER = Code(
    "frames-differ",
    Severity.NOTE,
    "source and CT have different frames of reference: coordinates do not align them",
)
CONTRADICTED = Code(
    "frame-mismatch",
    Severity.QUARANTINE,
    "source and CT have the same frame of reference, but the bodies do not overlap",
    "check the positions of both scans, or that both are of this patient",
)

MIN_OVERLAP = 0.5
"""Least fraction of the source's body in the CT's field of view that is in the CT's body."""

MIN_IN_VIEW = 0.2
"""Least fraction of the source's body that is in the CT's field of view."""

_REMEDY = "look at both scans; export the wrong one again, or release the pair if it is right"
LEFT_RIGHT = Code(
    "flipped-left-right",
    Severity.QUARANTINE,
    "the mirrored CT fits the source much better: left and right are exchanged in one of the two",
    _REMEDY,
)
HEAD_FEET = Code(
    "flipped-head-feet",
    Severity.QUARANTINE,
    "the reversed CT fits the source much better: the slices of one of the two are reversed",
    _REMEDY,
)

CELL_MM = 8.0
"""Both scans are averaged to about this voxel size for the comparison."""

MIN_RATIO = 1.3
"""Ratio of mutual information from which the mirrored CT is taken for the right one."""

FIRST_STEP_MM, LAST_STEP_MM = 4.0, 0.5
"""Steps of the rigid registration: a pose finer than a fraction of a voxel changes no verdict."""

MIN_INFORMATION = 0.12
"""Mutual information [nats] below which a fit proves nothing."""


def pair_findings(
    source: tuple[Volume, Volume], ct: tuple[Volume, Volume], frames: tuple[str, str]
) -> list[Finding]:
    """Findings from the comparison of a source scan with the CT of its patient.

    Parameters
    ----------
    source, ct
        Axes-aligned scan and body mask of each.
    frames
        FrameOfReferenceUID of source and CT; empty where absent.
    """
    found = frame_findings(source[1], ct[1], *frames)
    return [*found, *side_findings(fits(source[0], source[1], ct[0]))]


def frame_findings(
    source_body: Volume, ct_body: Volume, source_frame: str, ct_frame: str
) -> list[Finding]:
    """Compare the frames and, if they are equal, the positions of the bodies (aligned masks)."""
    if not source_frame or not ct_frame:
        return []
    if source_frame != ct_frame:
        return [DIFFER.found("different frames of reference: the registration aligns the bodies")]
    seen, over = overlap(source_body, ct_body)
    if seen >= MIN_IN_VIEW and over >= MIN_OVERLAP:
        return []
    sentence = f"same frame of reference, but {seen:.0%} of the body is in the CT's field of view"
    return [CONTRADICTED.found(f"{sentence} and {over:.0%} of that in the CT's body")]


def overlap(source_body: Volume, ct_body: Volume) -> tuple[float, float]:
    """Fraction of the source's body in the CT's box, and the fraction of that in its body."""
    points = source_body.grid.points(np.argwhere(source_body.array > 0)[::7])
    index = np.rint(ct_body.grid.index(points)).astype(int)
    inside = ((index >= 0) & (index < np.asarray(ct_body.array.shape))).all(axis=1)
    if not inside.any():
        return 0.0, 0.0
    return float(inside.mean()), float((ct_body.array[tuple(index[inside].T)] > 0).mean())


@dataclass(frozen=True)
class Fits:
    """Mutual information [nats] of source and CT after rigid registration.

    Parameters
    ----------
    straight, mirrored, reversed_
        For the CT as it is, with left and right exchanged, with head and feet exchanged.
    """

    straight: float
    mirrored: float
    reversed_: float


def fits(source: Volume, body: Volume, ct: Volume, cell_mm: float = CELL_MM) -> Fits:
    """Register the CT and its mirror images to the source at low resolution.

    Mattes mutual information with 24 bins, regular-step gradient descent of a rigid transform.

    Parameters
    ----------
    source, body, ct
        Axes-aligned scans, and the body mask of the source.
    cell_mm
        Voxel size to which all are averaged [mm].
    """
    fixed, mask, moving = (_coarse(volume, cell_mm) for volume in (source, body, ct))
    turned = (_turned(moving, 2), _turned(moving, 0))
    return Fits(*(_fit(fixed, mask, one) for one in (moving, *turned)))


def side_findings(found: Fits) -> list[Finding]:
    """The finding that a mirror image fits much better than the CT as it is, if it does."""
    best = max(found.mirrored, found.reversed_)
    if best < MIN_INFORMATION or best < MIN_RATIO * found.straight:
        return []
    code = LEFT_RIGHT if found.mirrored >= found.reversed_ else HEAD_FEET
    sentence = f"mutual information {best:.2f} mirrored, {found.straight:.2f} as it is"
    return [code.found(sentence)]


def _coarse(volume: Volume, cell_mm: float) -> Volume:
    """The volume averaged to voxels of about ``cell_mm``; CT and CBCT clipped to 1000 HU."""
    array = volume.array.astype(np.float32)
    if volume.modality in (Modality.CT, Modality.CBCT):
        array = np.clip(array, -1000, 1000)
    every = [max(1, round(cell_mm / step)) for step in volume.grid.spacing_mm]
    shape = [size // step for size, step in zip(array.shape, every, strict=True)]
    for axis, (size, step) in enumerate(zip(shape, every, strict=True)):
        cut = np.take(array, range(size * step), axis=axis)
        cut = np.moveaxis(cut, axis, 0).reshape(size, step, *np.delete(cut.shape, axis))
        array = np.moveaxis(cut.mean(axis=1), 0, axis)
    spacing = [step * count for step, count in zip(volume.grid.spacing_mm, every, strict=True)]
    first = volume.grid.points((np.asarray(every) - 1) / 2)
    grid = Grid(array.shape, tuple(spacing), tuple(float(v) for v in first))  # type: ignore[arg-type]
    return Volume(np.ascontiguousarray(array), grid, volume.modality)


def _turned(volume: Volume, axis: int) -> Volume:
    return volume.with_array(np.ascontiguousarray(np.flip(volume.array, axis)))


def _fit(fixed: Volume, mask: Volume, moving: Volume) -> float:
    """Mutual information [nats] at the best pose: coordinates as they are, or centres aligned,
    each before and after the registration. Where the two starts are less than a voxel apart, they
    lead to the same pose, and only the first is tried.

    It is multiplied by the fraction of the body that the moving image covers: over a small overlap
    anything fits. The registration does not know that factor. In a field of view cropped to a part
    of a limb it may slide the CT half out of the body and end worse than it began, so its start
    counts as well.
    """  # noqa: D205
    a, b = to_itk(fixed), to_itk(moving)
    inside = sitk.Cast(to_itk(mask) > 0.5, sitk.sitkUInt8)
    body = fixed.grid.points(np.argwhere(mask.array > 0.5))
    middle = body.mean(axis=0)[::-1]
    as_placed = sitk.Euler3DTransform()
    as_placed.SetCenter([float(v) for v in middle])
    over_each_other = sitk.Euler3DTransform(
        sitk.CenteredTransformInitializer(
            a, b, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
        )
    )
    apart_mm = float(np.linalg.norm(over_each_other.GetTranslation()))
    starts = [as_placed, over_each_other] if apart_mm > max(fixed.grid.spacing_mm) else [as_placed]
    return max(
        measured(a, b, inside, start) * _covered(body, start, moving.grid)
        for start in starts
        for measured in (_unregistered, _registered)  # in this order: the second moves the start
    )


def _method(inside: sitk.Image, transform: sitk.Transform) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(24)
    method.SetMetricFixedMask(inside)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetInitialTransform(transform, inPlace=True)
    return method


def _unregistered(
    fixed: sitk.Image, moving: sitk.Image, inside: sitk.Image, transform: sitk.Transform
) -> float:
    """Mutual information [nats] at the pose."""
    try:
        return -float(_method(inside, transform).MetricEvaluate(fixed, moving))
    except RuntimeError:  # too little overlap for a histogram
        return 0.0


def _covered(body_mm: NDArray[np.float64], transform: sitk.Euler3DTransform, grid: Grid) -> float:
    """Fraction of the points (z, y, x) that the transform maps into the grid."""
    matrix = np.asarray(transform.GetMatrix()).reshape(3, 3)
    centre = np.asarray(transform.GetCenter())
    moved = (body_mm[:, ::-1] - centre) @ matrix.T + centre + transform.GetTranslation()
    index = grid.index(moved[:, ::-1])
    inside = (index > -0.5) & (index < np.asarray(grid.shape) - 0.5)
    return float(inside.all(axis=1).mean())


def _registered(
    fixed: sitk.Image, moving: sitk.Image, inside: sitk.Image, transform: sitk.Transform
) -> float:
    """Mutual information [nats] after a rigid registration, which modifies ``transform``."""
    method = _method(inside, transform)
    method.SetOptimizerAsRegularStepGradientDescent(
        FIRST_STEP_MM, LAST_STEP_MM, 40, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([1.0, 0.0])
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # too little overlap for a histogram
        return 0.0
    return -float(method.GetMetricValue())
