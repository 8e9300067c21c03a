"""Each guard finds its fault, and a clean scan has none."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.ingestion.body import body_mask
from synthct.tasks.ingestion.check import guarded
from synthct.tasks.ingestion.findings import Severity
from synthct.tasks.ingestion.guards import GUARDS
from synthct.tasks.ingestion.params import IngestionParams


def found(volume, mask=None):
    _, findings = guarded(volume, mask, IngestionParams())
    return {finding.code: finding.severity for finding in findings}


def regrid(volume, factor):
    grid = volume.grid
    spacing = tuple(step * factor for step in grid.spacing_mm)
    return Volume(volume.array, Grid(grid.shape, spacing, grid.origin_mm), volume.modality)


@pytest.mark.parametrize("kind", ["ct", "mr"])
def test_clean_scans_pass_without_a_word(request, kind):
    scan = request.getfixturevalue(kind)
    assert found(scan) == {}
    assert found(scan, body_mask(scan, IngestionParams().body, "thorax")) == {}


FAULTS = {
    "rescale intercept forgotten": (lambda v: v.with_array(v.array + 1024), "hu-offset"),
    "rescale applied twice": (lambda v: v.with_array(v.array - 1024), "rescale-twice"),
    "inverted": (lambda v: v.with_array(-v.array), "inverted"),
    "constant": (lambda v: v.with_array(v.array * 0 - 1000), "constant"),
    "two slices": (lambda v: v.crop((0, 0, 0), (2, 48, 56)), "few-slices"),
    "cm for mm": (lambda v: regrid(v, 0.1), "too-small"),
    "um for mm": (lambda v: regrid(v, 1000), "too-coarse"),
    "an MR called CT": (
        lambda v: v.with_array(np.maximum(v.array + 1000, 0) // 3),
        "wrong-modality",
    ),
    "a CT called MR": (lambda v: v.with_array(v.array, Modality.MR), "wrong-modality"),
}


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_faults_stop_the_scan(ct, name):
    spoil, code = FAULTS[name]
    severity = found(spoil(ct))[code]
    assert severity in (Severity.REJECT, Severity.QUARANTINE)


def test_a_few_voxels_without_a_value_become_air_and_it_is_reported(ct):
    values = ct.array.astype(np.float32)
    values[3, 20, 20:23] = np.nan
    mended, findings = guarded(ct.with_array(values), None, IngestionParams())
    assert [finding.severity for finding in findings] == [Severity.REPAIR]
    assert "3 NaN" in findings[0].sentence
    assert mended.array[3, 20, 20:23].tolist() == [-1000] * 3
    values[:] = np.where(np.arange(values.size).reshape(values.shape) % 20 == 0, np.nan, values)
    assert found(ct.with_array(values))["not-finite"] is Severity.REJECT


def test_padding_below_vacuum_is_raised_and_counted(ct):
    values = ct.array.copy()
    values[:, :2] = -3024
    mended, findings = guarded(ct.with_array(values), None, IngestionParams())
    assert [finding.code for finding in findings] == ["padding"]
    assert f"{16 * 2 * 56} voxels" in findings[0].sentence
    assert (mended.array[:, :2] == -1024).all()
    assert np.array_equal(mended.array[:, 2:], ct.array[:, 2:])


def test_metal_and_cut_bodies_are_noted_and_pass(ct):
    values = ct.array.copy()
    values[4:8, 20:24, 27:30] = 3071
    assert found(ct.with_array(values)) == {"metal": Severity.NOTE}
    part = ct.crop((0, 0, 20), (16, 48, 40))
    mask = body_mask(part, IngestionParams().body, "thorax")
    assert found(part, mask) == {"cut-body": Severity.NOTE}


def test_an_empty_outline_stops_the_scan(ct):
    mask = ct.with_array(np.zeros(ct.array.shape, np.uint8), Modality.MASK)
    assert found(ct, mask)["no-body"] is Severity.REJECT


def test_every_guard_gives_back_the_scan_it_was_given(ct):
    before = ct.array.copy()
    for _, guard in GUARDS.items():
        back, _ = guard()(ct, None)
        assert np.array_equal(back.array, before)
    assert np.array_equal(ct.array, before)


def test_when_a_guard_runs_is_an_option_in_params():
    for _, guard in GUARDS.items():
        assert "needs_mask" not in {field.name for field in fields(guard)}
