"""Where a prediction is written: what a name means, and that inputs stay what they are."""

from __future__ import annotations

import shutil
from collections import namedtuple

import pytest

from synthct.data.errors import MachineError, UsageError
from synthct.data.readers import read_scan
from synthct.data.volume import Grid, Modality
from synthct.data.writers import write_image
from synthct.flows.cli.app import command_line
from synthct.flows.exits import guarded
from synthct.tasks.prediction.options import PredictOptions
from synthct.tasks.prediction.outputs import Outputs
from synthct.tasks.prediction.predict import predict_file


@pytest.mark.parametrize(
    ("name", "series"),
    [("sct", True), ("sct_v1.2", True), ("2024.05.17", True), ("sct.2b", True), (".hidden", True),
     ("sct.mha", False), ("sct.v2.nii.gz", False), ("SCT.NRRD", False), ("sct.mah", False),
     ("sct.dcm", False)],
)  # fmt: skip
def test_a_dot_in_the_name_of_a_folder_makes_it_no_image_file(tmp_path, name, series):
    assert Outputs(tmp_path / name).is_series is series


def test_a_folder_that_exists_is_a_folder_whatever_its_name(tmp_path):
    (tmp_path / "sct.of.may").mkdir()
    assert Outputs(tmp_path / "sct.of.may").is_series
    with pytest.raises(UsageError) as caught:
        Outputs(tmp_path / "sct.of.june").check(inputs=())
    assert caught.value.code == "unknown-suffix"
    assert "folder" in str(caught.value)


def test_a_series_goes_into_a_folder_with_a_version_in_its_name(release, patient, tmp_path):
    write_image(tmp_path / "scan.mha", patient)
    options = PredictOptions(tta=False, threads=1)
    predict_file(release, tmp_path / "scan.mha", tmp_path / "sct_v1.2", options=options)
    assert read_scan(tmp_path / "sct_v1.2").modality is Modality.CT


def test_results_that_fit_one_by_one_but_not_together_are_refused(tmp_path, monkeypatch):
    grid = Grid((64, 256, 256), (1.0, 1.0, 1.0))
    voxels, usage = 64 * 256 * 256, namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 6 * voxels))
    Outputs(tmp_path / "sct.mha").check_room(grid)
    Outputs(tmp_path / "sct.mha", body=tmp_path / "body.mha").check_room(grid)
    for name in ("uncertainty", "interval"):
        with pytest.raises(MachineError, match="disk has too little space"):
            Outputs(tmp_path / "sct.mha", **{name: tmp_path / name}).check_room(grid)


def test_a_folder_that_holds_files_is_refused_with_the_advice_to_overwrite_it(tmp_path, capsys):
    (tmp_path / "sct").mkdir()
    (tmp_path / "sct" / "thesis.tex").touch()
    arguments = ["predict", "--model", "release", "--input", "scan", "--out", str(tmp_path / "sct")]
    for given in (arguments, [*arguments, "--overwrite"]):
        assert guarded(lambda given=given: command_line(given)) == 2
        told = " ".join(capsys.readouterr().err.split())
        assert "new or empty folder" in told
        assert "--overwrite" not in told
    assert (tmp_path / "sct" / "thesis.tex").exists()
