from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import html5lib
import numpy as np
import onnxruntime
import pytest
import torch

from synthct.tasks.export.calibration import Spread, calibration, spread_of
from synthct.tasks.export.card import render_card
from synthct.tasks.export.int8 import Int8Cost
from synthct.tasks.export.programs import module_runner, program_runner, script_runner, trace_script
from synthct.tasks.export.windows import CaseWindows, case_windows
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.prediction.release import open_release
from synthct.tasks.prediction.runtime import onnx_runners

ROOT = Path(__file__).resolve().parents[3]
ALL = {"torch_export": True, "torchscript": True, "int8": "static", "max_int8_cost_hu": 500.0}


@pytest.fixture(scope="module")
def in_all_forms(released_from, tmp_path_factory):
    from tests.tasks.export.conftest import make_release

    folder = tmp_path_factory.mktemp("forms") / "release"
    return make_release(folder, released_from[1], folds=(0,), params={"formats": ALL})


def test_every_form_is_listed_checked_and_checked_for_parity(in_all_forms):
    opened = open_release(in_all_forms)
    (member,) = opened.description.members
    names = (member.onnx, member.weights, member.torch_export, member.torchscript, member.int8)
    assert names == ("fold0.onnx", "fold0.safetensors", "fold0.pt2", "fold0.ts", "fold0.int8.onnx")
    assert set(names) <= set(opened.listed)
    parity = opened.card["folds"][0]["parity"]
    assert set(parity) == {"onnx", "safetensors", "torch_export", "torchscript"}
    assert max(one["max_difference_hu"] for one in parity.values()) < 1


def test_the_written_programs_take_any_patch_size(in_all_forms):
    inputs = np.random.default_rng(0).normal(size=(3, 3, 40, 28)).astype(np.float32)
    (exact,) = onnx_runners(open_release(in_all_forms).graphs())
    for name, runner in (("fold0.pt2", program_runner), ("fold0.ts", script_runner)):
        got = runner((in_all_forms / name).read_bytes())(inputs)
        np.testing.assert_allclose(got, exact(inputs), atol=1e-4)


def test_no_form_names_a_file_of_this_machine(in_all_forms):
    for file in (path for path in in_all_forms.rglob("*") if path.is_file()):
        content = file.read_bytes()
        for secret in (str(ROOT).encode(), b"site-packages", torch.__file__.encode()):
            assert secret not in content, file.name


def test_tracing_again_gives_the_same_bytes(describe):
    network = NETWORKS.build("toy", {"slices": 3}).build().eval()
    assert trace_script(network, describe()) == trace_script(network, describe())


def test_the_cost_of_8_bits_is_measured_on_unseen_windows_and_reported(in_all_forms, released_from):
    opened = open_release(in_all_forms)
    (exact,), (int8,) = onnx_runners(opened.graphs()), onnx_runners(opened.graphs(int8=True))
    windows = case_windows(released_from[1] / "registration/P3_mr", opened.model, 8)
    hu = [(run(windows.inputs)[:, 0] + 1) / 2 * 4095 - 1024 for run in (exact, int8)]
    errors = [np.abs(one - windows.ct_hu)[windows.inside].mean() for one in hu]
    result = opened.card["folds"][0]["int8"]
    assert result["mae_float_hu"] == pytest.approx(errors[0], rel=1e-3)
    assert result["mae_int8_hu"] == pytest.approx(errors[1], rel=1e-3)
    assert 0 < result["mean_change_hu"] < 100
    assert result["released"] is True


def test_8_bits_that_cost_too_much_are_left_out_and_the_card_says_so(release_of):
    limits = {"int8": "dynamic", "max_int8_cost_hu": 1e-9}
    folder = release_of(params={"formats": limits})
    card = json.loads((folder / "card.json").read_text())
    cost = card["folds"][0]["int8"]
    left_out = cost["mae_int8_hu"] - cost["mae_float_hu"] > 1e-9
    assert cost["released"] is not left_out
    assert (folder / "fold0.int8.onnx").exists() is not left_out


def test_an_8_bit_answer_that_is_no_number_costs_infinitely_much():
    assert Int8Cost(0.0, 0.0, 60.0, float("nan")).cost_hu == float("inf")
    assert Int8Cost(0.0, 0.0, 60.0, 62.5).cost_hu == 2.5


def test_calibration_is_error_over_spread_by_hand():
    sd = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    result = calibration([Spread(sd[:2], 3 * sd[:2]), Spread(sd[2:], 3 * sd[2:])])
    assert result["error_over_sd"] == 3.0
    assert result["spearman"] == 1.0
    assert result["within_2_sd"] == 0.0
    assert [quarter["sd_hu"] for quarter in result["by_quarter_of_sd"]] == [1.0, 2.0, 3.0, 4.0]
    assert calibration([])["measured"] is False


def test_the_spread_of_an_equivariant_network_is_zero_and_without_flips_there_is_none(describe):
    inputs = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
    windows = CaseWindows(inputs, np.ones((2, 8, 8), bool), np.zeros((2, 8, 8), np.float32))
    same = spread_of(lambda x: x[:, 1:2] * 0.1, windows, describe(flips=("y", "x")))
    assert same.sd_hu.max() < 1e-3
    assert spread_of(lambda x: x, windows, describe(flips=())) is None


def test_windows_of_a_case_hold_body_and_the_ct_of_the_same_voxels(released_from, describe):
    windows = case_windows(released_from[1] / "registration/P3_mr", describe(), 4)
    assert windows.inputs.shape[:2] == (4, 3)
    assert windows.inputs.shape[2:] == windows.inside.shape[1:] == windows.ct_hu.shape[1:]
    middle, inside = windows.inputs[:, 1], windows.inside
    slope = np.polyfit(middle[inside], windows.ct_hu[inside], 1)[0]
    assert slope == pytest.approx(40, rel=0.05)  # the fixture's CT: 2 HU a unit, SD 20 units
    assert windows.ct_hu[~inside].max() < -500


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [v for k, v in attrs if k in ("src", "href")] + ([tag] * (tag == "script"))


def test_the_card_for_people_is_whole_html_without_scripts_or_addresses(released):
    page = (released / "card.html").read_text()
    html5lib.HTMLParser(strict=True).parse(page)
    links = _Links()
    links.feed(page)
    assert links.found == []
    card = json.loads((released / "card.json").read_text())
    for said in (card["intended_use"], card["not_for_clinical_use"], *card["caveats"]):
        assert said.split(";")[0][:60] in page.replace("&#39;", "'")


def test_what_a_card_says_cannot_become_code_of_its_page(released):
    card = json.loads((released / "card.json").read_text())
    page = render_card({**card, "intended_use": "<script>alert(1)</script>"})
    assert "<script>" not in page


def test_a_cleared_release_says_for_what_and_not_the_opposite(release_of):
    folder = release_of(params={"cleared_for": "MR of the pelvis, clinic X"})
    card = json.loads((folder / "card.json").read_text())
    assert card["not_for_clinical_use"] == ""
    assert "Cleared for: MR of the pelvis" in (folder / "card.html").read_text()


def test_the_bundle_view_is_metadata_that_names_weights_and_holds_no_code(released):
    metadata = json.loads((released / "configs/metadata.json").read_text())
    assert all((released / name).is_file() for name in metadata["weights"] + metadata["graphs"])
    inputs = metadata["network_data_format"]["inputs"]["image"]
    assert inputs["num_channels"] == 3
    text = "".join(path.read_text() for path in (released / "configs").iterdir())
    assert "_target_" not in text
    assert "$" not in text


def test_an_uncompressed_network_answers_as_its_graph(released, describe):
    session = onnxruntime.InferenceSession((released / "fold0.onnx").read_bytes())
    network = NETWORKS.build("toy", {"slices": 3}).build()
    from safetensors.torch import load_file

    network.load_state_dict(load_file(released / "fold0.safetensors"))
    inputs = np.ones((1, 3, 16, 16), np.float32)
    expected = session.run(None, {"source": inputs})[0]
    np.testing.assert_allclose(module_runner(network)(inputs), expected, atol=1e-5)
