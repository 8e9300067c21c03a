"""Gamma and dose-volume figures against those of planning systems (SlicerRT's test suite)."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from synthct.data.readers import read_scan
from synthct.data.volume import Modality
from synthct.tasks.evaluation.dose.compare import dvh_figures
from synthct.tasks.evaluation.dose.gamma import Convention, gamma_of, pass_percent
from tests.conftest import skip_or_fail

CRITERIA = {"dose_percent": 3.0, "distance_mm": 3.0}


@pytest.fixture(scope="module")
def folder(shared_data):
    found = shared_data / "tps_dose"
    if not found.is_dir():
        skip_or_fail("data", f"doses of planning systems are absent: {found}")
    return found


@pytest.fixture(scope="module")
def days(folder):
    """Dose of two days and SlicerRT's gamma between them, on one grid of 2.5 mm."""
    names = ("EclipseEnt_Dose", "EclipseEnt_Dose_Day2", "GammaVolume_EclipseEnt_Day1Day2_Baseline")
    files = (folder / "Testing" / "Data" / f"{name}.nrrd" for name in names)
    return [read_scan(file, Modality.DOSE) for file in files]


def test_discrete_gamma_is_that_of_slicerrt_in_every_voxel(days):
    first, second, known = days
    judged = first.array >= 0.1 * first.array.max()
    found = gamma_of(
        first.array, second.array, first.grid.spacing_mm, judged, **CRITERIA,
        convention=Convention(search="discrete"), most=2.0,
    )  # fmt: skip
    assert np.count_nonzero(judged) == 88129
    np.testing.assert_allclose(found, known.array[judged], atol=1e-6)
    assert 100 * np.mean(found <= 1) == pytest.approx(80.895, abs=1e-3)


@pytest.mark.slow
def test_interpolated_gamma_of_the_same_doses_is_nine_points_higher(days):
    """Which is why every output states the convention."""
    first, second, _ = days
    found = pass_percent(first.array, second.array, first.grid.spacing_mm, **CRITERIA)
    assert found == pytest.approx(89.9, abs=0.1)


NAMES = {
    "BODY": "BODY", "Bladder": "Bladder", "PTV": "PTV", "Rectum": "Rectum",
    "FemoralHeadLt": "Femoral_Head_Lt", "FemoralHeadRT": "Femoral_Head_RT",
}  # fmt: skip


def eclipse_tables(folder):
    """``{structure: (doses [Gy], cumulative volume [%])}``."""
    file = folder / "Testing" / "Data" / "EclipseProstate_DvhTable_Eclipse.csv"
    with file.open(newline="") as text:
        header, *rows = list(csv.reader(text))
    tables = {}
    for column in range(0, len(header) - 1, 2):
        pairs = [row[column : column + 2] for row in rows if row[column] and row[column + 1]]
        name = header[column].split("_")[0]
        tables[name] = np.array(pairs, dtype=float).T
    return tables


def test_mean_and_near_maximum_are_those_of_eclipse(folder):
    masks = folder / "prostate_masks"
    dose = read_scan(masks / "dose_fine.nii.gz", Modality.DOSE)
    structures = {
        name: read_scan(masks / f"{file}.nii.gz", Modality.MASK).array > 0
        for name, file in NAMES.items()
    }
    found = dvh_figures(dose.array, structures)
    for name, (gy, percent) in eclipse_tables(folder).items():
        mean = float(np.trapezoid(percent, gy)) / 100
        near_maximum = float(np.interp(-2.0, -percent, gy))
        assert found[name]["mean_gy"] == pytest.approx(mean, abs=0.15), name
        assert found[name]["d2_gy"] == pytest.approx(near_maximum, abs=0.3), name
