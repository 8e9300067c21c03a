"""Prediction from DICOM to DICOM: both STS patients and a digital patient of each region."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk

from synthct.data.layout import Layout
from synthct.data.readers import read_scan
from synthct.data.volume import Modality
from synthct.tasks.prediction.predict import predict_file

SHARED = Path(os.environ.get("SYNTHCT_SHARED_DATA", "../shared/data"))
RELEASES = Path(os.environ.get("SYNTHCT_RELEASES", str(Layout().artefact("export"))))
"""Releases of the demo (`make run`)."""
COHORT = Path(os.environ.get("SYNTHCT_COHORT", str(Layout().raw)))
REGIONS = {"HN": "head-neck", "TH": "thorax", "AB": "abdomen"}
PLOT = Path("docs/benchmarks/prediction_dicom.png")


def measure() -> str:
    """Predict every scan, and open the result with SimpleITK's series reader."""
    rows, pictures = [], []
    with tempfile.TemporaryDirectory(prefix="synthct-bench-") as place:
        for number, (title, source, scan, truth) in enumerate(_scans()):
            row, picture = _one(title, source, scan, truth, Path(place) / str(number))
            rows.append(row)
            pictures.append(picture)
    _plot(pictures)
    return "\n".join(
        [
            "The demo's releases: three networks trained for minutes on digital patients, with "
            "test-time flips. They test the processing, not accuracy. `--dicom-reference` is the "
            "scan itself. SimpleITK's `ImageSeriesReader` opens the new series; the geometry error "
            "is the largest distance between a corner voxel of it and the same voxel of the "
            "source, which SimpleITK reads too. The MAE is inside the body, against the true CT on "
            "the scan's grid. It is known for digital patients only, on which the networks were "
            "trained. The next column is the MAE of a constant CT with the median HU of the body.",
            "",
            "| scan | voxels | series in the folder | geometry error [mm] | body [% of voxels] | "
            "wall [s] | MAE [HU] | MAE of a constant [HU] | notes |",
            "|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            f"![one slice of each: source above, synthetic CT below]({PLOT.name})",
            "",
            "Middle slice of each: the source above, the synthetic CT below (-600 to 800 HU).",
        ]
    )


def _scans() -> Iterator[tuple[str, str, Path, Path | None]]:
    """(title, source, DICOM folder, true CT)."""
    for name in ("STS_001", "STS_002"):
        folder = SHARED / "sts_mr_ct" / name / "MR_T1_dicom"
        if folder.is_dir():
            yield f"{name}, MR (a real patient)", "mr", folder, None
    for prefix, region in REGIONS.items():
        for source in ("mr", "cbct"):
            patient = COHORT / f"{prefix}-01"
            truth = patient / "truth" / f"{source}_ct.mha"
            yield f"digital {region}, {source.upper()}", source, patient / source, truth


def _one(title: str, source: str, scan: Path, truth: Path | None, out: Path) -> tuple[str, Any]:
    started = time.perf_counter()
    report = predict_file(RELEASES / source, scan, out, dicom_reference=scan)
    wall_s = time.perf_counter() - started
    made, source = _opened(out), _opened(scan)
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(out))
    hu, body = sitk.GetArrayFromImage(made), sitk.GetArrayFromImage(made) > -1024
    errors = ("", "")
    if truth is not None:
        ct = read_scan(truth, Modality.CT).array
        inside = ct[body].astype(np.float64)
        errors = (
            f"{np.abs(hu[body] - inside).mean():.0f}",
            f"{np.abs(np.median(inside) - inside).mean():.0f}",
        )
    voxels = " x ".join(str(size) for size in made.GetSize())
    notes = "; ".join(re.sub(r"\s+", " ", note) for note in report["notes"]) or "none"
    row = (
        f"| {title} | {voxels} | {len(series)} | {_apart_mm(made, source):.0e} | "
        f"{100 * body.mean():.0f} | {wall_s:.1f} | {errors[0]} | {errors[1]} | {notes} |"
    )
    middle = len(hu) // 2
    plane = sitk.GetArrayFromImage(source)[middle]
    return row, (title, plane, hu[middle], made.GetSpacing())


def _opened(folder: Path) -> sitk.Image:
    """As any ITK program opens a folder that holds one series."""
    reader = sitk.ImageSeriesReader()
    images = [
        str(file)
        for file in sorted(folder.iterdir())
        if pydicom.dcmread(file, stop_before_pixels=True).get("Modality") != "RTSTRUCT"
    ]
    (series,) = {pydicom.dcmread(f, stop_before_pixels=True).SeriesInstanceUID for f in images}
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), str(series)))
    return reader.Execute()


def _apart_mm(one: sitk.Image, other: sitk.Image) -> float:
    if one.GetSize() != other.GetSize():
        return float("inf")
    ends = [(0, size - 1) for size in one.GetSize()]
    corners = [(x, y, z) for x in ends[0] for y in ends[1] for z in ends[2]]
    gaps = [
        np.subtract(
            one.TransformIndexToPhysicalPoint(corner), other.TransformIndexToPhysicalPoint(corner)
        )
        for corner in corners
    ]
    return float(np.abs(gaps).max())


def _plot(pictures: list[Any]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        2, len(pictures), figsize=(2.1 * len(pictures), 4.6), layout="constrained", squeeze=False
    )
    for column, (title, plane, hu, spacing) in enumerate(pictures):
        aspect = spacing[1] / spacing[0]
        low, high = np.percentile(plane, (1, 99.5))
        axes[0, column].imshow(plane, cmap="gray", vmin=low, vmax=high, aspect=aspect)
        axes[0, column].set_title(title.replace(" (", "\n("), fontsize=8)
        axes[1, column].imshow(hu, cmap="gray", vmin=-600, vmax=800, aspect=aspect)
    for axis in axes.flat:
        axis.set_axis_off()
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    print(measure())
