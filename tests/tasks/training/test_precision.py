"""Automatic precision: settled once, by the processor, and named in keys, results and the log."""

from __future__ import annotations

import json

import pytest

from synthct.flows.upkeep.doctor.check_result import Status
from synthct.flows.upkeep.doctor.hardware import bfloat16
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.pipeline.machine import EMULATED, bfloat16_features
from synthct.tasks.training import precision
from synthct.tasks.training import run as stage
from synthct.tasks.training.params import TrainingParams
from synthct.tasks.training.precision import precision_note, settled

AVX2 = "processor\t: 0\nflags\t\t: fpu sse4_2 avx2 fma\n\nprocessor\t: 1\nflags\t\t: fpu avx2\n"
SAPPHIRE = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16 amx_bf16 amx_tile\n"
GRAVITON = "processor\t: 0\nFeatures\t: fp asimd sve bf16 i8mm\n"
MISLEADING = "model name\t: avx512_bf16 amx_bf16\nflags\t\t: avx2 avx512f xbf16\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [(AVX2, ()), (SAPPHIRE, ("avx512_bf16", "amx_bf16")), (GRAVITON, ("bf16",)), (MISLEADING, ())],
)
def test_a_processor_s_features_are_words_of_its_flags(tmp_path, text, expected):
    (tmp_path / "cpuinfo").write_text(text)
    assert bfloat16_features(tmp_path / "cpuinfo") == expected


def test_a_system_that_does_not_say_is_taken_to_have_none(tmp_path):
    assert bfloat16_features(tmp_path / "absent") == ()


@pytest.fixture(params=[(), ("avx512_bf16",)], ids=["AVX2", "AVX512-BF16"])
def features(request, monkeypatch):
    monkeypatch.setattr(precision, "bfloat16_features", lambda: request.param)
    return request.param


def params(name, device="cpu"):
    return TrainingParams(precision=name, device=device)


def test_auto_takes_bfloat16_only_where_the_processor_computes_in_it(features):
    found = settled(params("auto")).precision
    assert found == ("bfloat16" if features else "float32")
    assert precision_note(params("auto")).startswith(f"precision {found}: auto, the processor has ")


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_precision_that_is_named_is_kept_whatever_the_processor(features, name):
    assert settled(params(name)) == params(name)


def test_a_named_bfloat16_that_is_only_emulated_is_warned_of(features):
    warned = "15 times" in precision_note(params("bfloat16"))
    assert warned == (not features)
    assert "15 times" not in precision_note(params("float32"))


@pytest.mark.parametrize(("here", "name"), [((), "float32"), (("amx_bf16",), "bfloat16")])
def test_the_key_of_a_network_holds_the_precision_and_never_auto(
    here, name, monkeypatch, workspace, events
):
    """Else a network of one machine would be taken for that of another."""
    monkeypatch.setattr(precision, "bfloat16_features", lambda: here)
    context = workspace({"a_mr": "pass", "b_mr": "pass"})
    chosen, named = (units_of(context, monkeypatch, asked) for asked in ("auto", name))
    assert chosen == named
    assert {unit["params"]["precision"] for unit in chosen} == {name}
    assert events("note")[0]["text"].startswith(f"precision {name}: auto, the processor has ")


def test_a_network_says_what_it_was_trained_in(monkeypatch, workspace):
    monkeypatch.setattr(precision, "bfloat16_features", lambda: ())
    context = workspace({"a_mr": "pass", "b_mr": "pass"})
    stage.run(context, asked_for("auto", steps=1))
    for file in context.artefact("training").glob("mr_fold*/model.json"):
        assert ModelDescription.load(file).precision == "float32"


def test_doctor_says_what_auto_would_take():
    assert bfloat16(("amx_bf16",)).status is Status.OK
    found = bfloat16(())
    assert found.status is Status.WARNING
    assert "float32" in found.found
    assert EMULATED in found.remedy


def asked_for(name, **changes):
    return TrainingParams.model_validate_json(
        json.dumps({
            "precision": name, "device": "cpu", "sources": ["mr"], "folds": 2, "batch": 2,
            "network": {"name": "unet_plus_plus", "slices": 1, "width": 4},
            "mr": {"patch_size": [32, 64]}, "validation_slices": 1, **changes,
        })
    )  # fmt: skip


def units_of(context, monkeypatch, name):
    """The arguments of every unit that the stage would run."""
    seen = []

    def keep(context, stage_name, out, units, **_):
        seen.extend(json.loads(json.dumps(unit.arguments)) for unit in units)
        return []

    with monkeypatch.context() as patch:
        patch.setattr(stage, "run_units", keep)
        stage.run(context, asked_for(name))
    return seen
