"""``synthct reconstruct`` from files to files, with wrong arguments and after a kill."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

import synthct
from synthct.data.errors import UsageError
from synthct.data.tomography.rtk_writer import write_projections
from synthct.flows.cli.app import command_line, commands


@pytest.fixture(scope="module")
def files(scan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("projections")
    write_projections(folder / "p.mha", folder / "g.xml", scan.sinogram)
    return folder


def _arguments(files, out, *more):
    return [
        "reconstruct", str(files / "p.mha"), "--geometry", str(files / "g.xml"), "--out", str(out),
        "--spacing", "5", "5", "5", "--shape", "6", "32", "32", *more,
    ]  # fmt: skip


def test_counts_become_an_image_with_history_and_report(scan, files, tmp_path):
    out = tmp_path / "cbct"
    done = CliRunner().invoke(
        commands, _arguments(files, out, "--open-beam", "5000", "--iterations", "4", "--json")
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["iterations"] == 4
    assert sorted(path.name for path in out.iterdir()) == [
        "cbct.nii.gz", "history.csv", "reconstruction.json", "report.html",
    ]  # fmt: skip
    image = synthct.read(out / "cbct.nii.gz", "CBCT")
    assert image.grid.is_close(scan.grid)
    analytic = synthct.reconstruct(
        scan.sinogram, method="fdk", spacing_mm=(5.0, 5.0, 5.0), shape=(6, 32, 32)
    )
    found, first = (
        scan.error_hu(torch.from_numpy(volume.array / 1000 + 1).float())
        for volume in (image, analytic.image)
    )
    assert found < 0.9 * first
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64") == 2
    assert "24" in page
    assert not list(tmp_path.glob(".cbct*"))


def test_fdk_takes_no_iterations_and_the_python_call_gives_the_same_image(scan, files, tmp_path):
    out = tmp_path / "fdk"
    assert command_line(_arguments(files, out, "--open-beam", "5000", "--method", "fdk")) == 0
    made = synthct.reconstruct(
        scan.sinogram, method="fdk", spacing_mm=(5.0, 5.0, 5.0), shape=(6, 32, 32)
    )
    written = synthct.read(out / "cbct.nii.gz", "CBCT")
    assert (written.array == made.image.array).all()
    assert made.solution is None


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--method", "fist"), "fista"),
        (("--prior", "image_total_variatio"), "image_total_variation"),
        (("--prior", "bending"), "not a prior for images"),
        (("--water-per-mm", "0"), "attenuation of water"),
        (("--method", "spiral"), "line integrals"),
    ],
)
def test_a_wrong_argument_writes_nothing(files, tmp_path, capsys, more, words):
    out = tmp_path / "cbct"
    assert command_line(_arguments(files, out, *more)) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_of_somebody_else_is_not_replaced(files, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="other content"):
        synthct.reconstruct(files / "p.mha", files / "g.xml", out=tmp_path)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("method", ["fista", "fdk"])
def test_a_dry_run_writes_or_hides_what_a_reconstruction_takes(files, tmp_path, method, capsys):
    line = _arguments(files, tmp_path / "cbct", "--method", method, "--open-beam", "5000")
    assert command_line([*line, "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seconds"] > 0
    assert found["memory_gb"] > 0
    assert found["scans"]["image"] == "32 x 32 x 6 voxels of 5 x 5 x 5 mm"
    assert command_line([*line, "--dry-run"]) == 0
    assert "nothing was written" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
