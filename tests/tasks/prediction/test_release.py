from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import TensorProto, helper

from synthct.data.errors import UsageError
from synthct.data.files import write_whole
from synthct.tasks.prediction.checksums import write_checksums
from synthct.tasks.prediction.release import open_release
from synthct.tasks.prediction.runtime import onnx_runners, provider_of


def refused(folder) -> UsageError:
    with pytest.raises(UsageError) as caught:
        open_release(folder)
    return caught.value


def test_a_whole_release_opens_and_its_networks_run(release):
    opened = open_release(release)
    first, second = onnx_runners(opened.graphs())
    inputs = np.zeros((1, 3, 8, 8), np.float32)
    inputs[:, 1] = 1
    assert opened.description.source == "mr"
    np.testing.assert_allclose(first(inputs), np.tanh(0.2), atol=1e-6)
    np.testing.assert_allclose(second(inputs), np.tanh(0.4), atol=1e-6)


@pytest.mark.parametrize("name", ["fold1.onnx", "fold0.safetensors", "model.json", "card.json"])
@pytest.mark.parametrize("where", [0, -1])
def test_a_flipped_bit_anywhere_is_refused_with_the_files_name(release, name, where):
    content = bytearray((release / name).read_bytes())
    content[where] ^= 1
    (release / name).write_bytes(content)
    fault = refused(release)
    assert fault.code == "release-damaged"
    assert fault.where.endswith(name)


def test_a_truncated_file_a_missing_file_and_a_foreign_file_are_named(release):
    (release / "extra.py").write_text("print('hello')")
    assert refused(release).where.endswith("extra.py")
    (release / "extra.py").unlink()
    kept = (release / "fold0.onnx").read_bytes()
    (release / "fold0.onnx").write_bytes(kept[:-1])
    assert refused(release).where.endswith("fold0.onnx")
    (release / "fold0.onnx").unlink()
    assert "the file is missing" in str(refused(release))


def test_a_link_in_place_of_a_file_is_not_followed(release, tmp_path):
    content = (release / "card.json").read_bytes()
    (tmp_path / "elsewhere.json").write_bytes(content)
    (release / "card.json").unlink()
    (release / "card.json").symlink_to(tmp_path / "elsewhere.json")
    assert refused(release).code == "release-damaged"


def test_a_listing_that_names_a_file_outside_the_folder_reads_nothing(release, tmp_path):
    listing = json.loads((release / "checksums.json").read_text())
    listing["files"]["../secret"] = {"sha256": "0" * 64, "bytes": 1}
    (tmp_path / "secret").write_text("x")
    (release / "checksums.json").write_text(json.dumps(listing))
    assert refused(release).code == "release-files-differ"


def test_a_graph_that_reads_another_file_of_the_machine_is_not_opened(release):
    tensor = TensorProto(name="kernel", data_type=1, dims=[1, 3, 1, 1], data_location=1)
    tensor.external_data.add(key="location", value="../../secret")
    node = helper.make_node("Conv", ["source", "kernel"], ["sct"])
    sizes = ["b", "c", "y", "x"]
    graph = helper.make_graph(
        [node],
        "toy",
        [helper.make_tensor_value_info("source", 1, sizes)],
        [helper.make_tensor_value_info("sct", 1, sizes)],
        [tensor],
    )
    write_whole(release / "fold0.onnx", helper.make_model(graph).SerializeToString())
    write_checksums(release)
    with pytest.raises(UsageError) as caught:
        list(open_release(release).graphs())
    assert caught.value.code == "release-external-data"


def test_a_file_changed_after_the_check_is_not_what_runs(release):
    opened = open_release(release)
    write_whole(release / "fold0.onnx", b"something else")
    with pytest.raises(UsageError) as caught:
        list(opened.graphs())
    assert caught.value.code == "release-damaged"


def test_a_refused_release_says_why_it_was_refused(tmp_path):
    row = {"problem": "the look-up beats the model: 120 HU", "remedy": "train longer"}
    (tmp_path / "refused.json").write_text(json.dumps(row))
    told = str(refused(tmp_path))
    assert "120 HU" in told
    assert "train longer" in told


@pytest.mark.parametrize("broken", ["{", '{"format": 1}', '{"files": 3}', None])
def test_a_folder_that_is_no_release_is_named(release, broken):
    if broken is None:
        (release / "checksums.json").unlink()
    else:
        (release / "checksums.json").write_text(broken)
    assert refused(release).code == "release-incomplete"


def test_a_description_of_another_format_is_named_not_guessed(release):
    text = (release / "model.json").read_text().replace('"format": 1', '"format": 2')
    write_whole(release / "model.json", text)
    write_checksums(release)
    assert refused(release).code == "release-unreadable"


def test_a_device_that_is_not_there_is_named():
    assert provider_of("cpu") == "CPUExecutionProvider"
    with pytest.raises(UsageError, match="no 'abacus', only cpu"):
        provider_of("abacus")


def test_a_folder_that_does_not_exist_is_reported_as_an_incomplete_release(tmp_path):
    found = refused(tmp_path / "nope")
    assert (found.problem, found.code) == ("there is no such folder", "release-missing")
    (tmp_path / "nope").mkdir()
    found = refused(tmp_path / "nope")
    assert (found.problem, found.code) == ("the folder has no checksums.json", "release-incomplete")
