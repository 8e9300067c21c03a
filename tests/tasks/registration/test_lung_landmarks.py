"""Real scans: points that a person marked in both lungs must meet."""

import csv

import numpy as np
import pytest
import SimpleITK as sitk

from synthct.data.volume import Modality
from synthct.tasks.registration import presets
from synthct.tasks.registration.pair import register_files

SUSPECT = 20
"""Landmark that was marked wrongly (PROVENANCE.md)."""


def registered(scans, out, **options):
    """Distances of the marked points [mm], before and after, and the quality."""
    quality = register_files(
        scans / "3DCT_lung_baseline.mha",
        scans / "3DCT_lung_followup.mha",
        fixed_mask=scans / "3DCT_lung_baseline_mask.mha",
        moving_mask=scans / "3DCT_lung_followup_mask.mha",
        fixed_modality=Modality.CT,
        moving_modality=Modality.CT,
        out=out,
        **options,
    ).quality
    transform = sitk.ReadTransform(str(out / quality["transform"]))
    with (scans / "landmarks.csv").open() as file:
        rows = np.array([[float(value) for value in row.values()] for row in csv.DictReader(file)])
    rows = rows[rows[:, 0] != SUSPECT]
    fixed, moving = rows[:, 1:4], rows[:, 4:7]
    mapped = np.array([transform.TransformPoint(point) for point in fixed])
    before = np.linalg.norm(fixed - moving, axis=1)
    return before, np.linalg.norm(mapped - moving, axis=1), quality


@pytest.mark.slow
def test_marked_points_of_a_real_lung_meet(shared_data, quick, tmp_path, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "quick", quick)
    before, after, quality = registered(
        shared_data / "lung_ct_pair", tmp_path / "out", preset="quick"
    )
    assert before.mean() > 30  # [mm]
    assert np.median(after) < 2.5
    assert quality["verdict"] == "pass"


@pytest.mark.slow
def test_a_lung_far_from_its_place_is_not_left_at_a_rigid_step_that_slid_off(shared_data, tmp_path):
    """The rigid step alone ended 10 mm off, where joined centres leave 5."""
    _, after, quality = registered(
        shared_data / "lung_ct_pair", tmp_path / "out", method="mind_fine", preset="lung"
    )
    assert after.mean() < 1.4
    assert np.median(after) < 1.2
    assert quality["step"] == "deformable"
    assert quality["verdict"] == "pass" or "rough" in quality["reason"]
