from __future__ import annotations

import pytest

from synthct.tasks.export.gate import apply_gate, summarise
from synthct.tasks.export.params import ExportParams, GateParams


def row(case, method, value, *, source="mr", reference="registered", metric="mae_hu"):
    return {
        "case": case, "source": source, "method": method, "reference": reference, "metric": metric,
        "value": str(value),
    }  # fmt: skip


def test_summary_is_mean_sd_and_n_per_method_reference_and_metric():
    rows = [row("A", "model", 50.0), row("B", "model", 70.0), row("A", "lookup", 120.0)]
    rows += [row("A", "model", 40.0, reference="truth"), row("C", "model", 9.0, source="cbct")]
    got = {(one["method"], one["reference"]): one for one in summarise(rows, "mr")}
    model = got["model", "registered"]
    assert (model["n"], model["mean"]) == (2, 60.0)
    assert model["sd"] == pytest.approx(14.1421, abs=1e-4)
    assert got["lookup", "registered"]["sd"] is None
    assert len(got) == 3


def summary(*, model=60.0, baseline="lookup", high=0.7, cases=12, failed=None, checked=None):
    gain = {
        "baseline": baseline, "cases": cases, "model_mae_hu": model, "baseline_mae_hu": 100.0,
        "ratio": model / 100, "low": None if high is None else 0.5, "high": high,
    }  # fmt: skip
    suspect = {"cases": checked or cases, "failed": failed or {}}
    return {"gain": {"mr": {"registered": gain}}, "suspect": {"mr": suspect}}


def refusal(document, **limits):
    return apply_gate(document, "mr", GateParams(**limits)).refusal("mr")


def test_a_model_with_enough_cases_a_clear_gain_and_sound_checks_is_released():
    gate = apply_gate(summary(), "mr", GateParams())
    assert gate.refusal("mr") is None
    assert gate.as_json()["passed"]


def test_two_cases_that_happen_to_look_good_are_no_release():
    error = refusal(summary(model=109.0, cases=2, high=None))
    assert error.code == "gate-cases"
    assert "only 2 unseen cases" in error.problem
    assert "too few for an interval" in error.problem
    loose = refusal(summary(cases=2, high=None), min_cases=1)  # no limit makes up an interval
    assert loose.code == "gate-cases"


@pytest.mark.parametrize(("high", "passes"), [(0.99, True), (1.0, False), (1.2, False)])
def test_a_gain_that_another_seed_could_lose_is_no_release(high, passes):
    error = refusal(summary(high=high))
    assert (error is None) == passes
    if error is not None:
        assert error.code == "gate-score"
        assert "60.0 HU, that of the best baseline (lookup) 100.0 HU" in error.problem


def test_a_model_whose_bone_is_lost_is_not_released_for_its_mean_error():
    failed = {f"P{n}_mr": ["lost_structure", "detail"] for n in range(4)}
    error = refusal(summary(failed=failed))
    assert error.code == "gate-checks"
    assert "4 of 12 unseen cases are suspect (lost structure 4)" in error.problem
    assert refusal(summary(failed=failed), max_suspect_share=0.5) is None
    assert refusal(summary(failed=dict(list(failed.items())[:3]))) is None


def test_blur_alone_is_reported_and_does_not_close_the_gate():
    gate = apply_gate(
        summary(failed={f"P{n}_mr": ["detail"] for n in range(12)}), "mr", GateParams()
    )
    assert gate.refusal("mr") is None
    assert gate.as_json()["suspect_by_check"] == {"detail": 12}


def test_every_condition_that_fails_is_named_at_once():
    failed = {f"P{n}_mr": ["identity"] for n in range(6)}
    error = refusal(summary(cases=6, high=1.3, failed=failed))
    for part in ("only 6 unseen cases", "0.50 to 1.30, reaches 1", "6 of 6 unseen cases are"):
        assert part in error.problem


def test_a_source_without_any_score_is_not_released():
    error = refusal({"gain": {"mr": {"truth": {}}}, "suspect": {}})
    assert error.code == "gate-no-scores"


def test_the_other_reference_does_not_open_the_gate():
    assert refusal(summary(), reference="truth").code == "gate-no-scores"


def test_a_demonstration_cannot_be_cleared_for_clinical_use():
    with pytest.raises(ValueError, match="cannot be cleared"):
        ExportParams(cleared_for="us", gate=GateParams(when_refused="demonstration"))
