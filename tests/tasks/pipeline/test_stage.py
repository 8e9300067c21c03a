"""Units: computed once, published whole, excluded with a reason, adopted back after a pull."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synthct.data.errors import DataError, MachineError, TooManyExcludedError
from synthct.data.files import content_hash
from synthct.data.layout import Layout
from synthct.data.store.result_cache import LocalResults
from synthct.data.store.volumes import read_volume, write_volume
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.pipeline.adoption import adopt
from synthct.tasks.pipeline.fanout import here
from synthct.tasks.pipeline.machine import cpu_features
from synthct.tasks.pipeline.packages import unit_versions
from synthct.tasks.pipeline.stage import StageContext, Unit, build_out, run_units

CALLS: list[str] = []


def double(*, out: Path, number: Path, times: int) -> None:
    CALLS.append(number.name)
    if number.read_text() == "bad":
        raise DataError("numbers are numbers", where=number.name, code="not-a-number")
    if number.read_text() == "crash":
        raise RuntimeError("the worker's disk is gone")
    (out / "result.txt").write_text(str(int(number.read_text()) * times))


def checkpointed(*, out: Path, scratch: Path) -> None:
    done = scratch / "half"
    if not done.exists():
        done.write_text("7")
        raise RuntimeError("killed half-way")
    (out / "result.txt").write_text(done.read_text())


@pytest.fixture
def context(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    CALLS.clear()
    return StageContext(Layout(), seed=1, units=LocalResults(tmp_path / "units"), fan_out=here)


def units_of(tmp_path: Path, times: int = 2, **numbers: str) -> list[Unit]:
    units = []
    for name, text in numbers.items():
        (tmp_path / name).write_text(text)
        units.append(Unit(name, double, {"number": tmp_path / name}, {"times": times}))
    return units


def build(context: StageContext, units: list[Unit]) -> Path:
    with build_out(context, "toy") as out:
        run_units(context, "toy", out, units)
    return context.artefact("toy")


def test_adding_a_patient_computes_one_patient_not_all(context, tmp_path):
    build(context, units_of(tmp_path, a="1", b="2"))
    out = build(context, units_of(tmp_path, a="1", b="2", c="3"))
    assert CALLS == ["a", "b", "c"]
    assert [(out / name / "result.txt").read_text() for name in "abc"] == ["2", "4", "6"]


def test_a_changed_parameter_or_input_is_never_answered_from_the_store(context, tmp_path):
    build(context, units_of(tmp_path, a="1"))
    build(context, units_of(tmp_path, times=5, a="1"))
    out = build(context, units_of(tmp_path, times=5, a="2"))
    assert CALLS == ["a", "a", "a"]
    assert (out / "a" / "result.txt").read_text() == "10"


def test_after_clone_and_pull_the_out_is_adopted_and_nothing_is_redone(context, tmp_path):
    build(context, units_of(tmp_path, a="1", b="2"))
    fresh = replace(context, units=LocalResults(tmp_path / "empty-store"))
    build(fresh, units_of(tmp_path, a="1", b="2", c="3"))
    assert CALLS == ["a", "b", "c"]


def test_an_out_changed_by_hand_is_not_adopted_as_the_truth(context, tmp_path):
    out = build(context, units_of(tmp_path, a="1"))
    (out / "a" / "result.txt").write_text("999")
    fresh = replace(context, units=LocalResults(tmp_path / "empty-store"))
    out = build(fresh, units_of(tmp_path, a="1"))
    assert (out / "a" / "result.txt").read_text() == "2"
    with pytest.raises(TooManyExcludedError) as caught:
        build(context, units_of(tmp_path, a="1", b="bad", c="bad"))
    assert "(b: " in str(caught.value)
    assert "; c: " in str(caught.value)  # nothing else on the screen names them


def test_one_bad_case_is_listed_and_the_others_go_on(context, tmp_path):
    out = build(context, units_of(tmp_path, a="1", b="bad"))
    excluded = json.loads((out / "excluded.json").read_text())
    assert [(row["unit"], row["code"]) for row in excluded] == [("b", "not-a-number")]
    assert (out / "a" / "result.txt").exists()
    assert not (out / "b").exists()
    build(context, units_of(tmp_path, a="1", b="bad"))
    assert CALLS == ["a", "b"], "an exclusion is a result and is remembered too"


def test_too_many_excluded_cases_fail_the_stage_and_leave_the_old_out(context, tmp_path):
    out = build(context, units_of(tmp_path, a="1"))
    with pytest.raises(TooManyExcludedError, match="2 of 2"):
        build(context, units_of(tmp_path, a="bad", b="bad"))
    assert (out / "a" / "result.txt").read_text() == "2"


def test_a_machine_fault_stops_the_stage_after_the_others_finished(context, tmp_path):
    units = units_of(tmp_path, a="crash", b="2")
    with pytest.raises(MachineError, match="toy/a"):
        build(context, units)
    assert not context.artefact("toy").exists()
    assert CALLS == ["a", "b"]
    (tmp_path / "a").write_text("1")
    build(context, units)
    assert CALLS == ["a", "b", "a"], "the finished unit is not redone"


def test_lost_and_damaged_units_cost_one_run_each(context, tmp_path, monkeypatch):
    """Several at once, of every kind, are computed again in the same run; the file is named."""
    monkeypatch.setenv("SYNTHCT_EVENTS", str(tmp_path / "events"))
    units = units_of(tmp_path, a="1", b="2", c="3", d="4", e="5")
    out = build(context, units)
    shutil.rmtree(out)
    folders = {unit.name: context.units._folder(unit.key(1)) for unit in units}
    (folders["a"] / "files/result.txt").write_text("666")
    (folders["b"] / "files/result.txt").unlink()
    (folders["c"] / "content.sha256").unlink()
    shutil.rmtree(folders["d"] / "files")
    CALLS.clear()
    out = build(context, units)
    assert sorted(CALLS) == ["a", "b", "c", "d"], "and the whole one is not"
    assert [(out / name / "result.txt").read_text() for name in "abcde"] == [
        "2",
        "4",
        "6",
        "8",
        "10",
    ]
    told = (tmp_path / "events").read_text()
    assert str(folders["a"] / "files/result.txt") in told
    CALLS.clear()
    build(context, units)
    assert CALLS == []


class Forgetful(LocalResults):
    def fetch(self, key, target):
        return False


def test_a_store_that_loses_every_unit_is_tried_for_ever(context, tmp_path):
    units = units_of(tmp_path, a="1", b="2")
    with pytest.raises(
        MachineError, match="2 results are damaged or missing a second time"
    ) as caught:
        build(replace(context, units=Forgetful(tmp_path / "units")), units)
    assert caught.value.code == "unit-lost"
    assert "run the same command again" not in str(caught.value)


def test_a_flipped_bit_in_a_pulled_out_becomes_a_unit(context, tmp_path):
    (tmp_path / "seven").write_text("7")
    units = [Unit("x", filled, {"number": tmp_path / "seven"})]
    out = build(context, units)
    (shard,) = out.glob("x/ct.zarr/0/c/0/0/0")
    good = shard.read_bytes()
    shard.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    out = build(replace(context, units=LocalResults(tmp_path / "empty")), units)
    assert next(out.glob("x/ct.zarr/0/c/0/0/0")).read_bytes() == good


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"key": "../../../../escaped", "content": "%s"}}',
        '{"../a": {"key": "%s", "content": "%s"}}',
        '{"a": {"key": 3, "content": "%s"}}', '{"a": null}', "[]", "3", "not json", "[" * 99999,
    ],
)  # fmt: skip
def test_units_json_of_a_stranger_writes_outside_the_store(text, context, tmp_path):
    out = build(context, units_of(tmp_path, a="1"))
    text = text.replace("%s", content_hash(out / "a"))
    (out / "units.json").write_text(text)
    elsewhere = tmp_path / "deep" / "in" / "a" / "store"
    elsewhere.mkdir(parents=True)
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(elsewhere)}
    assert adopt(LocalResults(elsewhere), out, "toy") == 0
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(elsewhere)} == before
    assert list(LocalResults(elsewhere).keys()) == []


def elsewhere(function, items, *, label):
    """Workers on a machine that has a folder of its own where the run has its result cache."""
    for item in items:
        folder = Path(str(item.units.root) + "-of-the-worker")
        folder.mkdir(exist_ok=True)
        yield from here(function, [replace(item, units=LocalResults(folder))], label=label)


def test_a_worker_that_does_not_share_the_unit_store_computes_everything_for_nothing(
    context, tmp_path
):
    with pytest.raises(MachineError, match="sees another folder, or none") as caught:
        build(replace(context, fan_out=elsewhere), units_of(tmp_path, a="1", b="2"))
    assert caught.value.code == "other-units"
    assert CALLS == [], "nothing was computed"


def test_the_machine_that_computed_a_unit_is_not_recorded(context, tmp_path):
    unit = units_of(tmp_path, a="1")[0]
    build(context, [unit])
    record = json.loads((context.units._folder(unit.key(1)) / "record.json").read_text())
    assert record["cpu_features"] == list(cpu_features())
    assert set(record["packages"]) <= set(unit_versions(unit.modules))
    assert record["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")


def test_cpus_that_round_differently_are_mixed_without_a_note(context, tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTHCT_EVENTS", str(tmp_path / "events"))
    cpus = iter([("avx2",), ("avx2", "avx512_bf16")])
    monkeypatch.setattr("synthct.tasks.pipeline.execution.cpu_features", lambda: next(cpus))
    build(context, units_of(tmp_path, a="1", b="2"))
    assert "last digits may differ; avx2 | avx2 avx512_bf16" in (tmp_path / "events").read_text()


def test_scratch_survives_a_kill_and_goes_when_the_unit_is_done(context):
    unit = Unit("fold", checkpointed)
    with pytest.raises(MachineError, match="killed half-way"):
        build(context, [unit])
    out = build(context, [unit])
    assert (out / "fold" / "result.txt").read_text() == "7"


def test_outs_are_copies_so_that_writing_one_cannot_harm_the_store(context, tmp_path):
    out = build(context, units_of(tmp_path, a="1"))
    (out / "a" / "result.txt").write_text("scribble")
    shutil.rmtree(out)
    out = build(context, units_of(tmp_path, a="1"))
    assert (out / "a" / "result.txt").read_text() == "2"


def filled(*, out: Path, number: Path) -> None:
    grid = Grid((2, 3, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    array = np.full(grid.shape, int(number.read_text()), np.int16)
    write_volume(out / "ct.zarr", Volume(array, grid, Modality.CT))


def summed(*, out: Path, folder: Path, ct: Path) -> None:
    (out / "sum.txt").write_text(str(int(read_volume(folder / "ct.zarr").array.sum())))
    assert np.array_equal(read_volume(ct).array, read_volume(folder / "ct.zarr").array)


def test_moved_voxels_change_a_key_or_a_content_or_are_not_found_by_the_next_stage(
    context, tmp_path, monkeypatch
):
    def chain():
        (tmp_path / "seven").write_text("7")
        with build_out(context, "first") as out:
            run_units(context, "first", out, [Unit("x", filled, {"number": tmp_path / "seven"})])
        first = context.artefact("first")
        with build_out(context, "second") as out:
            inputs = {"folder": first / "x", "ct": first / "x" / "ct.zarr"}
            run_units(context, "second", out, [Unit("x", summed, inputs)])
        second = context.artefact("second")
        assert (second / "x" / "sum.txt").read_text() == str(7 * 24)
        return [json.loads((out / "units.json").read_text()) for out in (first, second)]

    here_kept = chain()
    for key in list(context.units.keys()):
        context.units.remove(key)
    for stage in ("first", "second"):  # what lies there would be adopted
        shutil.rmtree(context.artefact(stage))
    monkeypatch.setenv("SYNTHCT_ARRAYS", str(tmp_path / "objects"))
    monkeypatch.setenv("SYNTHCT_ARRAYS_COPIES", str(tmp_path / "copies"))
    assert chain() == here_kept
    assert (context.artefact("first") / "x/ct.zarr/receipt.json").is_file()
    assert list(context.artefact("first").glob("x/ct.zarr/0/c")) == []
    assert len([file for file in (tmp_path / "objects").rglob("*") if file.is_file()]) == 1
    assert list(context.units.root.glob("*/*/files/ct.zarr/0/c")) == [], "nor in the result cache"


def test_a_unit_from_before_the_prefix_was_set_keeps_its_voxels_in_the_out(
    context, tmp_path, monkeypatch
):
    (tmp_path / "seven").write_text("7")
    units = [Unit("x", filled, {"number": tmp_path / "seven"})]
    with build_out(context, "first") as out:
        run_units(context, "first", out, units)
    monkeypatch.setenv("SYNTHCT_ARRAYS", str(tmp_path / "objects"))
    monkeypatch.setenv("SYNTHCT_ARRAYS_COPIES", str(tmp_path / "copies"))
    with build_out(context, "first") as out:
        run_units(context, "first", out, units)
    array = context.artefact("first") / "x/ct.zarr"
    assert (array / "receipt.json").is_file()
    assert not (array / "0" / "c").exists()
    assert read_volume(array).array[1, 2, 3] == 7
