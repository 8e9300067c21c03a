"""Preparation of a scan for the networks: checks, orientation, body mask and resampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from synthct.data.errors import DataError, mask_empty
from synthct.data.orientation import nearest_axes
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.ingestion.check import Outline, check_volume
from synthct.tasks.ingestion.findings import Finding, Severity
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.prediction.grid import prediction_grid
from synthct.tasks.prediction.slab_resampling import (
    count_unreached,
    resample_slabs,
    with_thin_parts,
)

COARSE_RATIO = 2.0
"""Ratio of scan spacing to trained spacing above which a note says that detail is missing."""

FINE_RATIO = 2.0
"""Ratio of trained spacing to scan spacing above which a note says that the result is coarser than
its grid. A CT resampled to twice its spacing and back is off by tens of HU at every edge of
bone."""

CUT_BODY = "cut-body"
"""Code of the finding for a body that is cut by the field of view."""

REACH_TOLERANCE = 1e-3
"""Tolerance [voxels], since directions of an upright scan are unit vectors up to rounding."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scan prepared like those in training.

    Parameters
    ----------
    source, mask
        On the working grid: axes-aligned, the model's spacing, cropped to the body and a margin.
    wanted
        Voxels to predict: the mask, and the voxels next to it that thin parts of the body need.
    body
        The body mask on the scan's own grid.
    unreached
        Number of body voxels without a predicted value; if it is not 0, a note says so.
    notes
        Notes for the user on limits of the result.
    cut
        Whether the field of view cuts the body.
    """

    source: Volume
    mask: Volume
    wanted: Volume
    body: Volume
    unreached: int
    notes: tuple[str, ...]
    cut: bool = False


def prepare(
    scan: Volume,
    mask: Volume | None,
    model: ModelDescription,
    ingestion: IngestionParams | None = None,
) -> Prepared:
    """Check and reorient the scan, segment the body if no mask is given, resample and crop.

    The same steps, in the same order and by the same functions as in ingestion and registration.
    ``ingestion`` are the params with which the training scans were checked; the release holds them.
    """
    region = model.regions[0] if len(model.regions) == 1 else "other"
    checked = check_volume(scan, region, ingestion or IngestionParams(), outline=_given(mask))
    _require_fit(checked.findings)
    upright = checked.mask
    body = _continued(upright, scan.grid) if mask is None else _on_scan(mask, scan.grid)
    grid = prediction_grid(upright, body, model.spacing_mm, model.margin_mm)
    inside = resample_slabs(upright, grid, outside=0, nearest=True)
    wanted = with_thin_parts(inside, body)
    unreached = count_unreached(wanted, body)
    notes = [finding.sentence for finding in checked.findings]
    if unreached:
        notes.append(f"{unreached} voxels of the body are not predicted: they are left at air")
    return Prepared(
        # The same value outside as in registration, on whose output the networks were trained.
        source=resample_slabs(checked.volume, grid, outside=float(checked.volume.array.min())),
        mask=inside,
        wanted=wanted,
        body=body,
        unreached=unreached,
        notes=(*notes, *_spacing(upright, model)),
        cut=any(finding.code == CUT_BODY for finding in checked.findings),
    )


def _on_scan(mask: Volume, grid: Grid) -> Volume:
    """A given mask on the scan's grid.

    Not resampled through the upright grid, where its thin parts would be lost.
    """
    return resample_slabs(_binary(mask), grid, outside=0, nearest=True)


def _continued(upright: Volume, grid: Grid) -> Volume:
    """The body mask on the scan's own grid, extended to the faces of an oblique scan.

    The upright voxel nearest to a voxel at a face may lie beyond the face, where the upright scan,
    and so the mask, is empty. For distances up to ``n - 1/2`` voxels of the scan, ``n`` layers are
    affected. They are replaced by the next layer inwards. Holes that this leaves in the scan's
    slices, where a face cuts a lung, are filled like other holes of the mask.
    """
    body = resample_slabs(upright, grid, outside=0, nearest=True)
    turn, steps = np.abs(np.asarray(grid.direction)), np.asarray(grid.spacing_mm)
    reach = (np.asarray(upright.grid.spacing_mm) @ turn) / 2 / steps
    layers = np.ceil(reach - 0.5 - REACH_TOLERANCE).astype(int)
    if not layers.any():
        return body
    array = body.array.copy()
    for axis, count in enumerate(layers):
        planes = np.moveaxis(array, axis, 0)
        count = min(int(count), (len(planes) - 1) // 2)
        if count:
            planes[:count] |= planes[count]
            planes[-count:] |= planes[-count - 1]
    axial = np.moveaxis(array, nearest_axes(grid)[0][0], 0)
    for plane in axial:
        plane |= ndimage.binary_fill_holes(plane).astype(array.dtype)
    return body.with_array(array)


def _given(mask: Volume | None) -> Outline | None:
    if mask is None:
        return None
    binary = _binary(mask)

    def outline(upright: Volume) -> Volume:
        body = resample_slabs(binary, upright.grid, outside=0, nearest=True)
        if not np.any(body.array):
            raise mask_empty(
                "the body mask",
                "the scan",
                remedy="a mask that does not meet the scan is empty there: check that both share "
                "a frame",
            )
        return body

    return outline


def _require_fit(findings: tuple[Finding, ...]) -> None:
    """Raise for a scan that ingestion would exclude from training."""
    for finding in findings:
        if finding.severity in (Severity.REJECT, Severity.QUARANTINE):
            raise DataError(
                finding.sentence,
                rule=f"a scan must pass the checks of ingestion ({finding.severity})",
                remedy=finding.remedy,
                code=finding.code,
            )


def _binary(mask: Volume) -> Volume:
    return mask.with_array((mask.array > 0).astype(np.uint8), Modality.MASK)


def _spacing(body: Volume, model: ModelDescription) -> list[str]:
    """Notes on voxels much larger or smaller than the model's."""
    pairs = zip(body.grid.spacing_mm, model.spacing_mm, strict=True)
    ratios = [scanned / trained for scanned, trained in pairs]
    notes = []
    if max(ratios) > COARSE_RATIO:
        notes.append(
            f"voxels are up to {max(ratios):.1f} times as large as those the model was trained on"
        )
    if min(ratios) < 1 / FINE_RATIO:
        notes.append(
            f"voxels are up to {1 / min(ratios):.1f} times smaller than those the model was "
            f"trained on ({_mm(model.spacing_mm)} mm): the synthetic CT has the model's detail, "
            "interpolated onto the scan's grid"
        )
    return notes


def _mm(spacing: tuple[float, float, float]) -> str:
    return " x ".join(f"{step:g}" for step in spacing)
