"""The calibration of a release: from held-out patients, of every tissue, or left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from synthct.data.files import canonical_json, write_whole
from synthct.tasks.evaluation.uncertainty.histogram import ErrorCounts
from synthct.tasks.export import release
from synthct.tasks.export.intervals import CalibrationPlan, calibrated, plan_calibration
from synthct.tasks.prediction.interval_files import Ends
from synthct.tasks.prediction.release import open_release
from tests.tasks.export.conftest import FACTS, ExportParams, release_source

SPREAD_HU = {"air": 15.0, "fat": 20.0, "soft": 30.0, "bone": 120.0}
MIDDLE_HU = {"air": -980, "fat": -100, "soft": 40, "bone": 600}


def patient(seed, voxels=4000):
    """(prediction, truth) [HU] of a patient whose tissues differ in how well they are predicted."""
    random = np.random.default_rng(seed)
    harder = random.uniform(0.8, 1.25)
    hu, error = [], []
    for name, spread in SPREAD_HU.items():
        hu.append(np.full(voxels // 4, MIDDLE_HU[name]))
        error.append(random.laplace(0, harder * spread, voxels // 4))
    values = np.concatenate(hu).astype(np.int16)
    return values, values + np.concatenate(error)


def write_errors(root, seeds, *, scaled=False, reference="registered"):
    for seed in seeds:
        hu, truth = patient(seed)
        facts = {"absolute": ErrorCounts.of(truth - hu, hu).as_json()}
        if scaled:
            facts["scaled"] = ErrorCounts.of((truth - hu) / 10.0, hu).as_json()
        write_whole(root / f"P{seed}_mr" / "errors.json", canonical_json({reference: facts}))
    said = {"nominal": 0.9, "guarantee": "mean"}
    trust = {"uncertainty": {"mr": {reference: said}}}
    write_whole(root / "trust.json", canonical_json(trust))
    return [f"P{seed}_mr" for seed in seeds]


def made(root, seeds, **changes):
    cases = write_errors(root, seeds, **changes)
    plan, files = plan_calibration(root, "mr", cases, "registered", 1)
    return calibrated(plan, files)


def test_an_interval_covers_its_nominal_share_of_every_tissue_of_patients_never_seen(tmp_path):
    known = made(tmp_path, range(24))
    shares: dict[str, list[float]] = {name: [] for name in SPREAD_HU}
    for seed in range(100, 124):
        hu, truth = patient(seed)
        image = hu.reshape(1, 1, -1)
        ends = Ends.of(known, image, None, np.ones(image.shape), (-5000, 5000))
        inside = ((ends.low <= truth) & (truth <= ends.high)).ravel()
        for name, middle in MIDDLE_HU.items():
            shares[name].append(float(inside[hu == middle].mean()))
    for name, found in shares.items():
        assert 0.88 <= np.mean(found) <= 0.92, name
        assert known.bands[name].own
        assert 0.88 <= known.bands[name].covered <= 0.92  # each patient left out in turn
    assert known.bands["bone"].half_width_hu > 3 * known.bands["soft"].half_width_hu
    assert not known.bands["lung"].own  # no patient has it
    assert known.bands["lung"].half_width_hu == known.bands["all"].half_width_hu


def test_four_patients_calibrate_nothing(tmp_path):
    assert made(tmp_path, range(4)) is None
    assert made(tmp_path, range(5)).patients == 5


def test_the_factor_of_the_spread_travels_where_the_evaluation_measured_one(tmp_path):
    assert made(tmp_path / "without", range(6)).spread_factor is None
    found = made(tmp_path / "with", range(6), scaled=True).spread_factor
    every = np.abs(np.concatenate([np.subtract(*patient(seed)) for seed in range(6)])) / 10.0
    assert found == pytest.approx(np.quantile(every, 0.9), rel=0.02)


def test_another_reference_is_not_calibrated_against(tmp_path):
    cases = write_errors(tmp_path, range(6))
    assert plan_calibration(tmp_path, "mr", cases, "truth", 1) is None
    assert plan_calibration(tmp_path / "nothing", "mr", cases, "registered", 1) is None


def test_the_release_lists_the_calibration_and_names_no_patient(artefacts, tmp_path):
    evaluation = tmp_path / "evaluation"
    cases = write_errors(evaluation, range(40, 46))
    plan, files = plan_calibration(evaluation, "mr", cases, "registered", 1)
    out = tmp_path / "release"
    out.mkdir()
    release_source(
        out=out, source="mr", params=json.loads(ExportParams().model_dump_json()),
        facts=dict(FACTS), ingestion={}, refusal=None, calibration=plan.as_json(),
        fold0=artefacts / "training" / "mr_fold0", case0=artefacts / "registration" / "P3_mr",
        seen000=artefacts / "registration" / "P1_mr",
        **{f"errors{n:03d}": file for n, file in enumerate(files)},
    )  # fmt: skip
    opened = open_release(out)
    assert opened.require_intervals().patients == 6
    assert "calibration.json" in opened.listed
    assert opened.card["intervals"]["bands"]["bone"]["covered"] > 0.8
    page = (out / "card.html").read_text()
    assert "calibrated on 6 patients against the registered CT" in page
    assert b"P40" not in b"".join(p.read_bytes() for p in out.rglob("*") if p.is_file())
    assert CalibrationPlan.from_json(plan.as_json()) == plan


def test_beyond_a_thousand_cases_errors_are_those_of_other_patients(monkeypatch):
    given = []
    monkeypatch.setattr(release, "calibrated", lambda plan, errors: given.extend(errors))
    plan = CalibrationPlan(
        nominal=0.9, guarantee="mean", reference="truth", seed=0, patients=["P"] * 1002
    )
    folders = {f"errors{n:03d}": Path(str(n)) for n in range(1002)}
    release._intervals(plan.as_json(), folders)
    assert given == [Path(str(n)) for n in range(1002)]
