"""A release with absurd numbers is refused with the number; a graph opens no other file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from synthct.data.errors import UsageError
from synthct.data.files import canonical_json, write_whole
from synthct.tasks.pipeline.artefacts import REFUSED
from synthct.tasks.prediction.checksums import write_checksums
from synthct.tasks.prediction.onnx_file import require_self_contained
from synthct.tasks.prediction.release import open_release

ABSURD = [
    ("patch_size", [0, 32]), ("patch_size", [-32, 32]), ("patch_size", [32]),
    ("patch_size", [32, 32, 32]), ("patch_size", [4097, 32]), ("patch_size", [33, 32]),
    ("spacing_mm", [float("nan"), 2.0, 2.0]), ("spacing_mm", [float("inf"), 2.0, 2.0]),
    ("spacing_mm", [0.0, 2.0, 2.0]), ("spacing_mm", [6.0, -2.0, 2.0]),
    ("spacing_mm", [1e-6, 2.0, 2.0]), ("margin_mm", 1e9), ("margin_mm", -1.0),
    ("margin_mm", float("nan")), ("slices", 0), ("slices", 4), ("slices", 10**9), ("divisor", 0),
    ("target_scaling", {"low_hu": 3071.0, "high_hu": -1024.0}),
    ("target_scaling", {"low_hu": 0.0, "high_hu": 0.0}),
    ("target_scaling", {"low_hu": float("-inf"), "high_hu": 0.0}),
    ("outside_hu", 10**6), ("fold", -1), ("dimensions", "4d"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), ABSURD, ids=lambda one: str(one)[:24])
def test_a_model_of_absurd_numbers_is_refused_by_name(release, key, value):
    document = json.loads((release / "model.json").read_text())
    document["preprocessing"][key] = value
    write_whole(release / "model.json", json.dumps(document))
    write_checksums(release)
    with pytest.raises(UsageError) as caught:
        open_release(release)
    assert caught.value.code == "release-unreadable"
    assert key in str(caught.value) or "patch_size" in str(caught.value)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e9, -1.0])
@pytest.mark.parametrize("key", ["opening_mm", "closing_mm", "thin_parts_mm"])
def test_an_outline_of_kilometres_fills_the_memory(key, value, release):
    document = json.loads((release / "model.json").read_text())
    document["ingestion"]["body"][key] = value
    write_whole(release / "model.json", json.dumps(document))
    write_checksums(release)
    with pytest.raises(UsageError, match=key) as caught:
        open_release(release)
    assert caught.value.code == "release-unreadable"


ENDLESS = "[" * 100_000


@pytest.mark.parametrize("name", ["checksums.json", "card.json", "model.json", "domain.json"])
def test_brackets_without_end_are_called_a_bug(name, release):
    write_whole(release / name, ENDLESS)
    if name != "checksums.json":
        write_checksums(release)
    with pytest.raises(UsageError) as caught:
        open_release(release)
    assert caught.value.code in ("release-unreadable", "release-incomplete")


@pytest.mark.parametrize("text", ["", "[]", "3", ENDLESS])
def test_a_refusal_that_cannot_be_read_is_called_a_bug(text, release):
    write_whole(release / REFUSED, text)
    with pytest.raises(UsageError) as caught:
        open_release(release)
    assert caught.value.code == "release-refused"


def test_a_release_without_networks_is_refused(release):
    document = json.loads((release / "model.json").read_text())
    document["members"] = []
    write_whole(release / "model.json", canonical_json(document))
    write_checksums(release)
    with pytest.raises(UsageError) as caught:
        open_release(release)
    assert "at least one network" in str(caught.value)


@pytest.mark.parametrize(
    "domain",
    [{"cases": 0, "features": {}}, {"cases": 3, "features": {"edges": {"low": 2.0, "high": 1.0}}},
     {"cases": 3, "features": {"phase_of_moon": {"low": 0.0, "high": 1.0}}},
     {"cases": 3, "features": {"edges": {"low": float("nan"), "high": 1.0}}}],
)  # fmt: skip
def test_a_domain_that_cannot_be_is_refused(release, domain):
    write_whole(release / "domain.json", json.dumps(domain))
    write_checksums(release)
    with pytest.raises(UsageError) as caught:
        open_release(release)
    assert caught.value.code == "release-unreadable"


def tensor(external=True):
    if not external:
        return helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0])
    made = TensorProto(name="w", data_type=1, dims=[1], data_location=1)
    made.external_data.add(key="location", value="../../secret")
    return made


def graph(*nodes, initializers=(), sparse=()):
    made = helper.make_graph(list(nodes), "g", [], [], list(initializers))
    made.sparse_initializer.extend(sparse)
    return made


def model(one, **more):
    made = helper.make_model(one)
    for name, value in more.items():
        getattr(made, name).extend(value)
    return made


def constant(**value):
    return helper.make_node("Constant", [], ["c"], **value)


def branching(inner):
    return helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)


def everywhere(external):
    """A tensor in every place of a model that can hold one."""
    one = tensor(external)
    sparse = helper.make_sparse_tensor(one, tensor(False), [1])
    function = helper.make_function("d", "F", [], ["c"], [constant(value=one)], [])
    training = ModelProto().training_info.add()
    training.algorithm.CopyFrom(graph(initializers=[one]))
    return {
        "initializer": model(graph(initializers=[one])),
        "constant": model(graph(constant(value=one))),
        "sparse constant": model(graph(constant(sparse_value=sparse))),
        "sparse initializer": model(graph(sparse=[sparse])),
        "subgraph": model(graph(branching(graph(constant(value=one))))),
        "subgraph of a subgraph": model(graph(branching(graph(branching(graph(
            initializers=[one])))))),
        "function": model(graph(), functions=[function]),
        "training": model(graph(), training_info=[training]),
    }  # fmt: skip


PLACES = list(everywhere(True))


@pytest.mark.parametrize("place", PLACES)
def test_a_tensor_in_another_file_is_found_wherever_it_is(tmp_path, place):
    require_self_contained(tmp_path, everywhere(False)[place].SerializeToString())
    with pytest.raises(UsageError) as caught:
        require_self_contained(tmp_path, everywhere(True)[place].SerializeToString())
    assert caught.value.code == "release-external-data"


def varint(number, width):
    """The number in exactly ``width`` bytes: leading zeros are legal."""
    low = [(number >> (7 * place)) & 0x7F for place in range(width)]
    return bytes([*(one | 0x80 for one in low[:-1]), low[-1]])


def field(number, content, *, tag=1, size=1):
    return varint(number << 3 | 2, tag) + varint(len(content), size) + content


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(2, 5), st.booleans(), st.booleans())
def test_no_spelling_of_the_reference_gets_by(tag, size, value_first, location_only):
    """Protobuf allows long numbers and any order; the words themselves may be anywhere."""
    key, value = field(1, b"location", tag=tag, size=size), field(2, b"../x", tag=tag, size=size)
    entry = value + key if value_first else key + value
    outside = (
        varint(14 << 3, max(tag, 1)) + b"\x01" if location_only
        else field(13, entry, tag=tag, size=size)
    )  # fmt: skip
    inner = field(8, b"w", tag=tag, size=size) + outside
    bytes_ = field(7, field(5, inner, tag=tag, size=size), tag=tag, size=size)
    parsed = ModelProto.FromString(bytes_)  # legal, and refers to another file
    assert parsed.graph.initializer[0].name == "w"
    with pytest.raises(UsageError) as caught:
        require_self_contained("x.onnx", bytes_)
    assert caught.value.code == "release-external-data"


def test_a_graph_that_is_given_twice_is_searched_twice():
    """Protobuf merges what stands twice; a guard that looks at the first alone misses it."""
    clean, dirty = (model(graph(initializers=[tensor(external)])) for external in (False, True))
    with pytest.raises(UsageError):
        require_self_contained("x", clean.SerializeToString() + dirty.SerializeToString())


@pytest.mark.parametrize(
    "content",
    [b"", b"not a graph", b"\x00\x00\x00\x00ORTM\x00\x00", b"\x3a\xff\xff\xff\xff\x0f",
     b"\xba\x80\x80\x80\x10\x00",  # field 7 for a parser of 32 bits, 2**29 + 7 for one of 64
     b"\x3b\x3c"],
)  # fmt: skip
def test_what_is_no_onnx_model_is_not_handed_to_the_runtime(content):
    with pytest.raises(UsageError) as caught:
        require_self_contained("x.onnx", content)
    assert caught.value.code == "release-unreadable"


def test_words_in_names_and_weights_are_no_reference():
    weights = numpy_helper.from_array(np.frombuffer(b"\n\x08location" * 2, "u1"))
    weights.name = "\n\x08location"
    require_self_contained("x", model(graph(initializers=[weights])).SerializeToString())
