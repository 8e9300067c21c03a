"""Ingestion of real scans: DICOM compared with NIfTI, an oblique CBCT and a structure set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthct.data.readers import describe, read_mask, read_scan, read_structures
from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.canonical import canonical, reoriented
from synthct.tasks.ingestion.check import oblique

SCANS = {"CT": ("CT_dicom", "CT.nii.gz"), "MR": ("MR_T1_dicom", "MR_T1.nii.gz")}
AIR_BELOW_HU = -900.0
"""Voxels darker than this are air around the phantom."""


@dataclass(frozen=True)
class Agreement:
    """How two readings of one scan differ: positions [mm] and values."""

    apart_mm: float
    value: float


def shared_data() -> Path:
    """Folder of the real scans: ``$SYNTHCT_SHARED_DATA``, else ``../shared/data``."""
    return Path(os.environ.get("SYNTHCT_SHARED_DATA", Path.cwd().parent / "shared" / "data"))


def agreement(one: Volume, other: Volume) -> Agreement:
    """Largest distance of voxels with the same index, and largest difference of their values."""
    one, other = reoriented(one), reoriented(other)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in one.grid.shape])).reshape(3, -1).T
    apart = np.linalg.norm(one.grid.points(corners) - other.grid.points(corners), axis=1)
    differ = np.abs(one.array.astype(float) - other.array.astype(float))
    return Agreement(float(apart.max()), float(differ.max()))


def from_both(patient: Path, modality: str) -> Agreement:
    """A soft-tissue sarcoma patient's scan from its DICOM folder and from its NIfTI file."""
    dicom, nifti = (patient / name for name in SCANS[modality])
    return agreement(read_scan(dicom), read_scan(nifti, Modality(modality)))


def tumour(patient: Path) -> tuple[float, float]:
    """Dice of the drawn tumour with the published mask; the mask's volume [cm^3]."""
    outlines = read_structures(patient / "CT_rtstruct")
    mask = read_mask(
        patient / "CT_rtstruct", outlines.names[0], describe(patient / "CT_dicom").grid
    )
    published = read_scan(patient / "CT_GTV.nii.gz", Modality.MASK)
    drawn, known = (reoriented(one).array > 0 for one in (mask, published))
    dice = 2 * int((drawn & known).sum()) / (int(drawn.sum()) + int(known.sum()))
    return dice, float(drawn.sum()) * mask.grid.voxel_mm3 / 1000


def cone_beam(archive: Path) -> tuple[Volume, Volume]:
    """The Varian scan as stored in its zip, and resampled onto an axes-aligned grid."""
    scan = read_scan(archive)
    return scan, canonical(scan)[0]


def air_hu(scan: Volume) -> float:
    """Median of the voxels around the phantom."""
    values = scan.array[(scan.array > -1024) & (scan.array < AIR_BELOW_HU)]
    return float(np.median(values))


def measure() -> str:
    """All figures, as markdown."""
    folder = shared_data()
    rows = []
    for name in ("STS_001", "STS_002"):
        for modality in SCANS:
            found = from_both(folder / "sts_mr_ct" / name, modality)
            rows.append(f"| {name} {modality} | {found.apart_mm:.1e} | {found.value:g} |")
    dice, cm3 = tumour(folder / "sts_mr_ct" / "STS_001")
    tilted, straight = cone_beam(folder / "catphan_cbct" / "High_quality_head.zip")
    turned = np.abs(np.asarray(straight.grid.direction) - np.eye(3)).max()
    return "\n".join(
        [
            "Two patients (soft-tissue sarcoma, TCIA), each scan read from DICOM and from NIfTI:\n",
            "| scan | largest distance of voxels [mm] | largest difference of values |",
            "|---|---|---|",
            *rows,
            f"\nTumour of STS_001 drawn from the RTSTRUCT: {cm3:.0f} cm3, Dice {dice:.3f} with the "
            "mask that was published with the NIfTI file.\n",
            f"Cone-beam scan in a zip of a Varian machine: {tilted.modality}, "
            f"{oblique(tilted.grid).sentence}. Its directions then differ from the axes by "
            f"{turned:g}. Air is at {air_hu(tilted):.0f} HU before and at "
            f"{air_hu(straight):.0f} HU after resampling.",
        ]
    )
