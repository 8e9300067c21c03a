from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from synthct.data.errors import DataError
from synthct.data.files import content_hash
from synthct.data.store.volumes import read_volume
from synthct.tasks.export.params import ParityParams
from synthct.tasks.export.parity import Parity, check_parity, compare
from synthct.tasks.export.release import release_source
from synthct.tasks.export.windows import case_windows
from synthct.tasks.models.description import Harmonise, SourceScaling
from synthct.tasks.models.normalise import fit_source
from synthct.tasks.models.sliding import predict
from synthct.tasks.prediction.release import open_release
from synthct.tasks.prediction.runtime import onnx_runners
from synthct.tasks.training.runner import torch_runner
from synthct.tasks.transport.laws import law_of, mean_law


def test_a_release_holds_what_predict_needs_and_its_checksums_hold(released):
    folder = released
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == {
        "card.json", "card.html", "checksums.json", "domain.json", "model.json",
        "configs/metadata.json", "docs/README.md",
        "fold0.onnx", "fold0.safetensors", "fold1.onnx", "fold1.safetensors",
    }  # fmt: skip
    assert [member.fold for member in open_release(folder).description.members] == [0, 1]


def test_the_ensemble_in_onnx_runtime_gives_the_trainers_hu(released_from):
    folder, artefacts = released_from
    opened = open_release(folder)
    case = artefacts / "registration" / "P3_mr"
    source, mask = read_volume(case / "source.zarr"), read_volume(case / "mask.zarr")
    networks = [torch_runner(artefacts / "training" / f"mr_fold{fold}") for fold in (0, 1)]
    trained = predict(networks, source, mask, opened.model, tta=True).hu
    released = predict(onnx_runners(opened.graphs()), source, mask, opened.model, tta=True).hu
    assert np.abs(trained.astype(int) - released).max() <= 1
    assert trained[mask.array > 0].std() > 1  # not a constant


def test_releasing_again_gives_the_same_bytes(release_of, released):
    again = release_of("again", folds=(0, 1))
    assert content_hash(again) == content_hash(released)


def test_case_and_patient_names_stay_in_the_pipeline(released):
    for file in (path for path in released.rglob("*") if path.is_file()):
        for name in (b"P1_mr", b"P2_mr", b"P3_mr", b'"P1"'):
            assert name not in file.read_bytes(), file.name


def test_the_card_says_what_it_was_made_of(released):
    card = json.loads((released / "card.json").read_text())
    assert card["data"]["patients"] == 3
    assert card["data"]["synthetic"] is True
    assert "may not be used commercially" in card["licence"]["propagates"]
    assert any("digital patients" in caveat for caveat in card["caveats"])
    assert any("registration" in caveat for caveat in card["caveats"])
    assert "Not for clinical use" in card["not_for_clinical_use"]
    assert [fold["validation_mae_hu"] for fold in card["folds"]] == [90.0, 91.0]
    for fold in card["folds"]:
        assert set(fold["parity"]) == {"onnx", "safetensors"}
        assert all(parity["max_difference"] < 1e-4 for parity in fold["parity"].values())
    assert card["regularizers"] == [{"name": "cutout", "weight": 1.0}]


def test_parity_beyond_the_limit_leaves_the_reason_alone(release_of):
    folder = release_of(params={"parity": {"max_difference": 1e-12}})
    assert [path.name for path in folder.iterdir()] == ["refused.json"]
    row = json.loads((folder / "refused.json").read_text())
    assert row["code"] == "parity"
    assert row["remedy"]


def test_a_refused_gate_leaves_the_reason_alone(release_of):
    row = {"code": "gate-score", "where": "mr", "problem": "p", "rule": "r", "remedy": "m"}
    folder = release_of(refusal=row)
    assert [path.name for path in folder.iterdir()] == ["refused.json"]
    assert json.loads((folder / "refused.json").read_text()) == row


def test_folds_that_prepare_a_scan_differently_are_not_one_release(release_of, artefacts, describe):
    describe(1, spacing_mm=(3.0, 1.0, 1.5)).save(artefacts / "training/mr_fold1/model.json")
    row = json.loads((release_of(folds=(0, 1)) / "refused.json").read_text())
    assert row["code"] == "folds-disagree"
    assert "spacing_mm" in row["where"]


def test_a_network_that_answers_nan_is_not_released(release_of, artefacts):
    file = artefacts / "training/mr_fold0/weights.safetensors"
    weights = load_file(file)
    weights["4.bias"][:] = torch.nan
    save_file(weights, file)
    assert json.loads((release_of() / "refused.json").read_text())["code"] == "parity"


def test_no_trained_fold_is_a_data_error(tmp_path, facts):
    with pytest.raises(DataError) as caught:
        release_source(
            out=tmp_path, source="mr", params={}, facts=facts, ingestion={}, refusal=None
        )
    assert caught.value.code == "no-folds"


def test_a_difference_in_any_window_is_found(artefacts, describe):
    model = describe()
    case = artefacts / "registration" / "P3_mr"
    inputs = case_windows(case, model, 4).inputs
    network = torch_runner(artefacts / "training/mr_fold0")

    def off(given):
        answer = network(given).copy()
        answer[-1, 0, -1, -1] += 1e-3
        return answer

    assert compare(network, network, inputs, model).max_difference == 0
    got = compare(network, off, inputs, model)
    assert got.max_difference == pytest.approx(1e-3, rel=1e-3)
    assert got.max_difference_hu == pytest.approx(2.0475, rel=1e-3)


@pytest.mark.parametrize(
    ("difference", "limits", "passes"),
    [
        (9e-5, {}, True),
        (2e-4, {}, False),
        (2e-4, {"max_difference": 1.0}, True),
        (6e-4, {"max_difference": 1.0}, False),  # 1.2 HU
        (float("inf"), {"max_difference": 1e9}, False),
    ],
)
def test_both_limits_of_parity_hold(difference, limits, passes):
    parity = Parity(8, difference, difference * 2047.5)
    error = check_parity("mr", [Parity(8, 0.0, 0.0), parity], ParityParams(**limits))
    assert (error is None) == passes


def harmonised(law, name="quantile"):
    return SourceScaling(harmonise=Harmonise(name=name, law=tuple(law)))


def test_folds_with_laws_of_their_own_scans_are_refused_or_the_release_takes_one_of_them(
    release_of, artefacts, describe
):
    for fold, low in enumerate((-2.0, -1.0)):
        model = describe(fold, source_scaling=harmonised(np.linspace(low, 2, 100)))
        model.save(artefacts / f"training/mr_fold{fold}/model.json")
    scaling = open_release(release_of(folds=(0, 1))).model.source_scaling
    np.testing.assert_allclose(scaling.harmonise.law, np.linspace(-1.5, 2, 100))


def test_folds_of_different_harmonisers_are_one_release(release_of, artefacts, describe):
    for fold, name in enumerate(("quantile", "partial")):
        model = describe(fold, source_scaling=harmonised(np.linspace(-2, 2, 100), name))
        model.save(artefacts / f"training/mr_fold{fold}/model.json")
    row = json.loads((release_of(folds=(0, 1)) / "refused.json").read_text())
    assert row["code"] == "folds-disagree"


def test_a_release_does_not_hold_the_law_of_its_training_scans(released_from):
    folder, artefacts = released_from
    laws = []
    for case in ("P1_mr", "P2_mr"):
        source, mask = (
            np.asarray(read_volume(artefacts / "registration" / case / f"{kind}.zarr").array)
            for kind in ("source", "mask")
        )
        laws.append(law_of(fit_source(source, mask, SourceScaling())(source[mask > 0])))
    domain = open_release(folder).domain
    np.testing.assert_allclose(domain.law, mean_law(laws), atol=1e-3)
    assert domain.reference.section_cm2 == pytest.approx(35 * 32 / 100, rel=1e-3)
