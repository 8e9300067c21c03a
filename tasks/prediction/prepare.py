"""A foreign scan onto the grid the networks know, and the result back onto the scan's own grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.data.errors import DataError
from synthct.data.volume import Modality, Volume
from synthct.tasks.fields.geometry import working_grid
from synthct.tasks.ingestion.check import Outline, check_volume
from synthct.tasks.ingestion.findings import Finding, Severity
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.prediction.slab_resampling import resample_slabs

COARSE_RATIO = 2.0
"""Scan spacing / trained spacing above which a note says that detail is missing."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scan as ingestion and registration would have handed it to training.

    Parameters
    ----------
    source, mask
        On the working grid: axes-aligned, the model's spacing, cropped to the body and a margin.
    body
        The body mask on the scan's own grid.
    notes
        What a person should know before trusting the result.
    """

    source: Volume
    mask: Volume
    body: Volume
    notes: tuple[str, ...]


def prepare(
    scan: Volume,
    mask: Volume | None,
    model: ModelDescription,
    ingestion: IngestionParams | None = None,
) -> Prepared:
    """Check, turn upright, outline the body if no mask is given, resample, crop.

    The steps of ingestion and registration in their order, by their own functions; ``ingestion``
    is what the training scans were checked with (it travels in the release).
    """
    region = model.regions[0] if len(model.regions) == 1 else "other"
    checked = check_volume(scan, region, ingestion or IngestionParams(), outline=_given(mask))
    _stop_where_unfit(checked.findings)
    body = checked.mask
    grid = working_grid(body, model.spacing_mm, model.margin_mm)
    told = [finding.sentence for finding in checked.findings]
    return Prepared(
        # The same value outside as in registration, whose sources training saw.
        source=resample_slabs(checked.volume, grid, outside=float(checked.volume.array.min())),
        mask=resample_slabs(body, grid, outside=0, nearest=True),
        body=resample_slabs(body, scan.grid, outside=0, nearest=True),
        notes=(*told, *_coarse(body, model)),
    )


def _given(mask: Volume | None) -> Outline | None:
    if mask is None:
        return None
    binary = _binary(mask)

    def outline(upright: Volume) -> Volume:
        body = resample_slabs(binary, upright.grid, outside=0, nearest=True)
        if not np.any(body.array):
            raise DataError(
                "the body mask holds at least one voxel of the scan",
                got="a mask that does not meet the scan",
                remedy="check that mask and scan share a frame",
                code="mask-empty",
            )
        return body

    return outline


def _stop_where_unfit(findings: tuple[Finding, ...]) -> None:
    """A scan that ingestion would not let into training is not predicted either."""
    for finding in findings:
        if finding.severity in (Severity.REJECT, Severity.QUARANTINE):
            raise DataError(
                f"a scan passes the guards of ingestion ({finding.severity})",
                got=finding.sentence,
                remedy=finding.remedy,
                code=finding.code,
            )


def _binary(mask: Volume) -> Volume:
    return mask.with_array((mask.array > 0).astype(np.uint8), Modality.MASK)


def _coarse(body: Volume, model: ModelDescription) -> list[str]:
    pairs = zip(body.grid.spacing_mm, model.spacing_mm, strict=True)
    ratio = max(scanned / trained for scanned, trained in pairs)
    if ratio <= COARSE_RATIO:
        return []
    return [f"voxels are up to {ratio:.1f} times as large as those the model was trained on"]
