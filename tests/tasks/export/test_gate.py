from __future__ import annotations

import pytest

from synthct.data.errors import SynthctError
from synthct.tasks.export.gate import hold_gate, summarise
from synthct.tasks.export.params import GateParams


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


@pytest.mark.parametrize(("limit", "passes"), [(0.5, False), (0.6, True), (0.61, True)])
def test_the_ratio_of_means_over_the_same_cases_is_the_gate(limit, passes):
    rows = [row("A", "model", 50), row("B", "model", 70)]
    rows += [row("A", "lookup", 90), row("B", "lookup", 110)]
    rows += [row("C", "lookup", 10_000)]  # no score of the model: must not help it
    gate = hold_gate(rows, "mr", GateParams(max_ratio=limit))
    assert (gate.model_mae_hu, gate.baseline_mae_hu, gate.cases) == (60, 100, 2)
    error = gate.refusal("mr")
    assert (error is None) == passes
    if error is not None:
        assert error.code == "gate-score"
        assert "60.0 HU, that of the lookup baseline 100.0 HU, on the same 2" in error.problem


def test_scores_of_the_other_task_or_reference_do_not_open_the_gate():
    rows = [row("A", "model", 50, source="cbct"), row("A", "lookup", 90, source="cbct")]
    rows += [row("A", "model", 50, reference="truth"), row("A", "lookup", 90, reference="truth")]
    rows += [row("A", "model", 50), row("B", "lookup", 90), row("B", "model", "nan")]
    with pytest.raises(SynthctError) as caught:
        hold_gate(rows, "mr", GateParams())
    assert caught.value.code == "gate-no-scores"


def test_each_task_is_compared_with_its_own_baseline():
    rows = [row("A", "model", 80, source="cbct"), row("A", "lookup", 90, source="cbct")]
    rows += [row("A", "linear", 70, source="cbct")]
    assert hold_gate(rows, "cbct", GateParams()).refusal("cbct").code == "gate-score"
    assert hold_gate(rows, "cbct", GateParams(cbct_baseline="lookup")).refusal("cbct") is None
