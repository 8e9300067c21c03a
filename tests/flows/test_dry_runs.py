"""``--dry-run`` of commands on one scan or pair: time, memory and disk, and nothing written."""

from __future__ import annotations

import json

import numpy as np
import pytest

from synthct.data.files import content_hash
from synthct.data.volume import Modality, Volume
from synthct.data.writers import write_image
from synthct.flows.cli.app import command_line
from synthct.tasks.models.description import ModelDescription, SourceScaling, TargetScaling
from tests.tasks.prediction.conftest import GRID, small_patient, write_release


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mr = small_patient()
    write_image(tmp_path / "mr.mha", mr)
    ct = np.where(mr.array > 100, 40, -1000).astype(np.int16)
    write_image(tmp_path / "ct.mha", Volume(ct, GRID, Modality.CT))
    model = ModelDescription(
        source="mr", fold=0, network={"name": "toy"}, slices=3, patch_size=(32, 32), divisor=8,
        spacing_mm=(6.0, 2.0, 2.0), source_scaling=SourceScaling(), target_scaling=TargetScaling(),
    )  # fmt: skip
    write_release(tmp_path / "release", model, (0.2, 0.4))
    return tmp_path


PREDICT = "predict --model release --input mr.mha --out new.mha"
REGISTER = (
    "register --fixed mr.mha --fixed-modality mr --moving ct.mha --moving-modality ct --out new"
)


@pytest.mark.parametrize("line", [PREDICT, REGISTER])
def test_a_dry_run_writes_or_hides_what_the_command_takes(place, line, capsys):
    before = content_hash(place)
    assert command_line([*line.split(), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "voxels of 2 x 2 x 6 mm" in told
    assert "GB of memory" in told
    assert "GB of disk" in told
    assert "nothing was written" in told
    assert command_line([*line.split(), "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seconds"] > 0
    assert found["memory_gb"] > 0
    assert content_hash(place) == before


def test_fewer_windows_take_as_long(place, capsys):
    def count(*more):
        assert command_line([*PREDICT.split(), "--dry-run", "--json", *more]) == 0
        return int(json.loads(capsys.readouterr().out)["scans"]["windows"].split()[0])

    assert count("--overlap", "0") < count("--overlap", "0.75")
    assert count() % 2 == 0  # two networks


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (PREDICT.replace("release", "relaese"), "there is no such folder"),
        (PREDICT.replace("mr.mha", "mrr.mha"), "no such file or folder"),
        (REGISTER.replace("ct.mha", "ctt.mha"), "no such file or folder"),
        (PREDICT.replace("new.mha", "ct.mha"), "the output exists already"),
    ],
)
def test_a_mistake_is_found_only_by_the_real_run(place, line, said, capsys):
    assert command_line([*line.split(), "--dry-run"]) == 2
    assert said in capsys.readouterr().err
