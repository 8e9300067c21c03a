"""`dvc repro`, the flow and `python -m synthct.tasks STAGE` one by one leave the same bytes."""

from __future__ import annotations

import json
import shutil

import pytest

from synthct.tasks.chain.params import load_params
from synthct.tasks.chain.table import active_stages


def units_of(checkout, stage):
    lock = json.loads((checkout.root / "data/artefacts" / stage / "units.json").read_text())
    return {name: entry["key"] for name, entry in lock.items()}


@pytest.mark.slow
@pytest.mark.parametrize("units", ["exports", "none"], ids="units={}".format)
def test_the_flow_leaves_other_bytes_than_dvc_repro(units, reproduced, make_clone):
    """On a cluster of two workers, from nothing; half a minute is saved on the exports."""
    flow = make_clone("flow")
    if units == "exports":
        for key in units_of(reproduced, "export").values():
            shutil.copytree(reproduced.units / key[:2] / key, flow.units / key[:2] / key)
    done = flow.run("python", "-m", "synthct.flows", "run", "--cluster", "local", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert flow.outs() == reproduced.outs()
    assert (flow.root / "dvc.lock").read_text() == (reproduced.root / "dvc.lock").read_text()


@pytest.mark.parametrize(
    "units", ["finished", pytest.param("none", marks=pytest.mark.slow)], ids="units={}".format
)
def test_stages_by_hand_leave_other_bytes_than_dvc_repro(units, reproduced, make_clone):
    """With the units at hand what a stage adds is compared; without, the units as well."""
    bare = make_clone("bare")
    if units == "finished":
        shutil.copytree(reproduced.units, bare.units)
    for stage in active_stages(load_params(bare.root / "params.yaml")):
        bare.run("python", "-m", "synthct.tasks", stage.name)
    assert bare.outs() == reproduced.outs()
    other = bare.root / "workspaces" / "other"
    other.mkdir(parents=True)
    (other / "dvc.yaml").write_text("stages: {a: {cmd: 'false', deps: [absent], outs: [b]}}\n")
    bare.run("dvc", "commit", "-f", "dvc.yaml")  # what a person keeps elsewhere is left alone
    assert (bare.root / "dvc.lock").read_text() == (reproduced.root / "dvc.lock").read_text()


def test_a_second_repro_does_work_again(reproduced):
    told = reproduced.run("dvc", "repro").stdout
    assert "Running stage" not in told
    assert "up to date" in told


def test_the_dvc_file_disagrees_with_the_table(reproduced):
    before = (reproduced.root / "dvc.yaml").read_text()
    reproduced.run("python", "-m", "synthct.tasks", "dag")
    assert (reproduced.root / "dvc.yaml").read_text() == before
