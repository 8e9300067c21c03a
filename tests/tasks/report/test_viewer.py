"""The viewer's page: its voxels are those of the scans, and its pictures move together."""

from __future__ import annotations

import base64
import json
import os
import re
import zlib

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image

from synthct.data.errors import DataError, UsageError
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers import write_image
from synthct.data.writers.dicom import write_series
from synthct.flows.cli.app import command_line
from synthct.tasks.report.viewer.page import (
    HU_LIMITS,
    ViewerCase,
    averaging,
    case_of_files,
    case_of_workspace,
    upright,
    write_page,
)
from tests.data.wild_images import write_mha, write_nrrd, write_zarr
from tests.tasks.report.test_browser import chromium

GRID = Grid((10, 24, 30), (4.0, 2.0, 2.0), (-24.0, -40.0, -48.0))

PROBE = """
<script>
addEventListener("load", function probe() {
  // Volumes are unpacked in real time, which the virtual clock does not wait for: work takes some.
  if (!panels.length || !at("readout").textContent.includes("HU")) {
    for (let turn = 0; turn < 3e6; turn++);
    setTimeout(probe, 10);
    return;
  }
  const told = { readout: at("readout").textContent, panels: panels.length };
  told.shown = at("shown").textContent;
  const press = (panel, x, y) => {
    const box = panel.canvas.getBoundingClientRect();
    const clientX = box.left + x * box.width, clientY = box.top + y * box.height;
    panel.canvas.dispatchEvent(new PointerEvent("pointerdown", { clientX, clientY }));
  };
  press(panels.find(each => each.plane === "axial" && each.name === "source"), 0.25, 0.75);
  told.position = position.slice();
  panels[0].canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowUp" }));
  told.above = position[0];
  at("planes").value = "coronal";
  at("planes").dispatchEvent(new Event("input"));
  press(panels[0], 0.5, 0.01);
  told.head = position[0];
  tell();
  told.last = at("readout").textContent;
  told.overflow = document.documentElement.scrollWidth - innerWidth;
  document.title = JSON.stringify(told);
});
</script>
"""


def viewed(**changes) -> ViewerCase:
    z, y, x = np.indices(GRID.shape)
    mask = (abs(y - 12) < 9) & (abs(x - 15) < 10)
    ct = np.where(mask, 10.0 * z + x, -1000.0)
    sct = ct + np.where(mask & (z == 7), 90.0, 5.0)
    given = {"source": 400.0 + ct, "ct": ct, "sct": sct, "mask": mask, "grid": GRID}
    return ViewerCase(**{"title": "P1_mr", **given, **changes})


def data_of(page: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def codes(data: dict, name: str) -> np.ndarray:
    packed = data["volumes"][name]
    raw = zlib.decompress(base64.b64decode(packed["codes"]))
    whole = np.frombuffer(raw, "<i2").reshape(data["shape"])
    return whole * packed["scale"] + packed["offset"]


def test_a_voxel_is_shown_with_another_value_than_it_has():
    shown = viewed()
    data = data_of(write_page(shown))
    np.testing.assert_array_equal(codes(data, "ct"), shown.ct)
    np.testing.assert_array_equal(codes(data, "sct"), shown.sct)
    span = shown.source.max() - shown.source.min()
    np.testing.assert_allclose(codes(data, "source"), shown.source, atol=span / 4095)
    assert data["spacing"] == [4.0, 2.0, 2.0]
    assert data["start"][0] == 7  # the slice of largest error


def test_a_value_that_no_ct_has_wraps_around():
    data = data_of(write_page(viewed(ct=np.where(viewed().mask, 70_000.0, -70_000.0))))
    assert set(np.unique(codes(data, "ct"))) == set(HU_LIMITS)


def test_a_large_scan_makes_a_page_that_no_browser_opens():
    assert averaging(Grid((96, 256, 256), (3.0, 1.0, 1.0)), 3_000_000) == (1, 2, 2)
    assert averaging(Grid((96, 512, 512), (1.0, 1.0, 1.0)), 4_000_000) == (2, 2, 2)
    assert averaging(GRID, 10_000) == (1, 1, 1)
    page = write_page(viewed(), most_voxels=2_000)
    data = data_of(page)
    assert data["shape"] == [10, 12, 15]
    assert data["spacing"] == [4.0, 4.0, 4.0]
    assert data["origin"] == [-24.0, -39.0, -47.0]  # the middle of the first 1 x 2 x 2 voxels
    ct = viewed().ct.reshape(10, 12, 2, 15, 2).mean(axis=(2, 4))
    np.testing.assert_array_equal(codes(data, "ct"), np.rint(ct))
    assert "1 x 2 x 2 voxels (z, y, x) averaged" in page


def test_a_flipped_scan_is_shown_upside_down():
    flipped = Grid(
        (10, 24, 30), (4.0, 2.0, 2.0), (12.0, 6.0, 10.0),
        ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0)),
    )  # fmt: skip
    assert upright(flipped) == Grid((10, 24, 30), (4.0, 2.0, 2.0), (-24.0, -40.0, -48.0))


def test_scans_of_one_place_on_other_grids_are_shown_beside_each_other_by_place(tmp_path):
    shown = viewed()
    write_image(tmp_path / "ct.mha", Volume(shown.ct.astype(np.int16), GRID, Modality.CT))
    turned = Grid(
        (10, 24, 30), (4.0, 2.0, 2.0), (12.0, -40.0, -48.0),
        ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    )  # fmt: skip
    sct = Volume(shown.sct[::-1].astype(np.int16), turned, Modality.CT)
    write_image(tmp_path / "sct.mha", sct)
    found = case_of_files("x", ct=tmp_path / "ct.mha", sct=tmp_path / "sct.mha")
    np.testing.assert_array_equal(found.sct, shown.sct)
    np.testing.assert_array_equal(found.ct, shown.ct)
    assert found.source is None
    assert found.mask.all()
    away = Grid(GRID.shape, GRID.spacing_mm, (900.0, 0.0, 0.0))
    write_image(tmp_path / "away.mha", Volume(shown.ct.astype(np.int16), away, Modality.CT))
    with pytest.raises(DataError, match="does not overlap"):
        case_of_files("x", ct=tmp_path / "away.mha", sct=tmp_path / "sct.mha")


def test_a_difference_is_not_shown_where_one_of_the_two_cts_ends(tmp_path):
    shown = viewed()
    whole = Volume(shown.ct.astype(np.int16), GRID, Modality.CT)
    write_image(tmp_path / "whole.mha", whole)
    write_image(tmp_path / "short.mha", whole.crop((3, 0, 5), GRID.shape))
    found = case_of_files("x", sct=tmp_path / "whole.mha", ct=tmp_path / "short.mha")
    z, _, x = np.indices(GRID.shape)
    np.testing.assert_array_equal(found.mask, (z >= 3) & (x >= 5))
    assert np.abs(found.sct - found.ct)[found.mask].max() == 0
    empty = Volume(np.zeros(GRID.shape, np.uint8), GRID, Modality.MASK)
    write_image(tmp_path / "empty.mha", empty)
    with pytest.raises(DataError, match=r"empty\.mha: the body mask is empty"):
        case_of_files("x", ct=tmp_path / "whole.mha", mask=tmp_path / "empty.mha")


def test_a_scored_case_is_shown_and_a_misspelt_one_is_named(tree):
    folders = tree.folder("registration"), tree.folder("evaluation")
    found = case_of_workspace(*folders, tree.cases()[0])
    assert found.grid.is_close(tree.grid)
    assert found.source.shape == found.sct.shape == found.mask.shape
    with pytest.raises(UsageError, match="did you mean"):
        case_of_workspace(*folders, tree.cases()[0] + "x")


def test_a_name_ends_the_script_that_holds_the_volumes():
    page = write_page(viewed(title="</script><script>alert(1)</script>"))
    assert "<script>alert" not in page


def test_the_page_loads_something_from_elsewhere():
    page = write_page(viewed())
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|src=|@import|url\(", page)


def test_pictures_do_not_move_together(browser, tmp_path):
    shown = viewed()
    file = tmp_path / "view.html"
    file.write_text(write_page(shown).replace("</body>", f"{PROBE}</body>"))
    done = chromium(
        browser, tmp_path, "--window-size=1280,1000", "--virtual-time-budget=8000", "--dump-dom",
        file.as_uri(),
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)[1]
    told = json.loads(title.replace("&quot;", '"'))
    z, y, x = data_of(write_page(shown))["start"]
    assert f"CT {shown.ct[z, y, x]:.0f} HU" in told["readout"]
    assert told["readout"].endswith("difference 90 HU")
    assert "CT -160 to 240 HU · yellow: CT above 200 HU" in told["shown"]
    assert f"z {-24 + 4 * z:.1f} mm" in told["readout"]
    assert told["panels"] == 12
    assert told["position"] == [7, 18, 7]  # three quarters down, one quarter right
    assert told["above"] == 8
    assert told["head"] == 9  # the head is at the top of a coronal picture
    assert f"CT {shown.ct[9, 18, 15]:.0f} HU" in told["last"]
    assert told["overflow"] <= 0
    assert "Refused to" not in done.stderr


def test_too_high_and_too_low_have_the_same_colour_on_the_screen(browser, tmp_path):
    area = {}
    for name, sign in (("high", 1), ("low", -1)):
        shown = viewed(sct=viewed().ct + sign * np.where(viewed().mask, 90.0, 5.0))
        file, picture = tmp_path / f"{name}.html", tmp_path / f"{name}.png"
        file.write_text(write_page(shown))
        chromium(
            browser, tmp_path, "--window-size=1280,1000", "--virtual-time-budget=8000",
            f"--screenshot={picture}", file.as_uri(),
        )  # fmt: skip
        pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
        red, _, blue = np.moveaxis(pixels, -1, 0)
        area[name] = np.count_nonzero(red > blue + 40), np.count_nonzero(blue > red + 40)
    assert area["high"][0] > area["low"][0] + 20_000
    assert area["low"][1] > area["high"][1] + 20_000


def test_the_command_writes_a_page_and_keeps_an_earlier_one(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "ct.mha", Volume(viewed().ct.astype(np.int16), GRID, Modality.CT))
    line = ["view", "--ct", "ct.mha", "--out", "look.html", "--no-open"]
    assert command_line([*line, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["page"] == "look.html"
    assert command_line(line) == 2
    assert "add --overwrite" in capsys.readouterr().err
    assert command_line(["view", "P1_mr", "--ct", "ct.mha"]) == 2
    assert "name a CASE, or scans" in capsys.readouterr().err
    assert command_line(["view"]) == 2


WAYS = ("permuted.nii.gz", "cm.mha", "um.nrrd", "two.zarr", "three.zarr")


@pytest.mark.parametrize("name", WAYS)
def test_a_scan_looks_the_same_in_whatever_way_it_was_written(tmp_path, name):
    values = np.rint(viewed().ct).astype(np.int16)
    path = tmp_path / name
    if name.endswith(".zarr"):
        version = 2 if name == "two.zarr" else 3
        write_zarr(path, GRID, values, version=version, chunks=(4, 8, 8), lead=1)
    elif name == "cm.mha":
        write_mha(path, GRID, values, unit="cm", unit_mm=10.0)
    elif name == "um.nrrd":
        write_nrrd(path, GRID, values, unit="um", unit_mm=1e-3, space="RAS")
    else:
        write_image(tmp_path / "plain.nii.gz", Volume(values, GRID, Modality.CT))
        image = sitk.ReadImage(str(tmp_path / "plain.nii.gz"))
        sitk.WriteImage(sitk.Flip(sitk.PermuteAxes(image, [2, 0, 1]), [True, False, True]), path)
    page = tmp_path / "look.html"
    assert command_line(["view", "--ct", str(path), "--out", str(page), "--no-open"]) == 0
    data = data_of(page.read_text())
    np.testing.assert_array_equal(codes(data, "ct"), values)
    assert data["spacing"] == pytest.approx(GRID.spacing_mm, abs=1e-3)


@pytest.fixture
def folder(tmp_path):
    """Two CTs, an MR, and a scout with the UID of the first CT, in one folder."""
    ct = Volume(np.rint(viewed().ct).astype(np.int16), GRID, Modality.CT)
    mr = Volume(np.abs(viewed().source).astype(np.float32), GRID, Modality.MR)
    for name, volume in {"plan": ct, "diag": ct, "t1": mr}.items():
        write_series(tmp_path / "d" / name, volume, patient_id="P", study="1",
                     series_description=name, uid_seed=name)  # fmt: skip
    scout = pydicom.dcmread(next((tmp_path / "d" / "plan").iterdir()))
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
    scout.save_as(tmp_path / "d" / "plan" / "scout.dcm")
    return tmp_path / "d"


def test_of_several_scans_in_a_folder_the_named_ones_are_shown(folder, tmp_path, capsys):
    given = ["view", "--ct", str(folder), "--source", str(folder), "--no-open"]
    assert command_line([*given, "--out", str(tmp_path / "a.html")]) == 2
    told = capsys.readouterr().err
    assert "'plan'" in told
    assert "'diag'" in told
    page = tmp_path / "b.html"
    assert command_line([*given, "--ct-series", "plan", "--out", str(page)]) == 0
    assert set(data_of(page.read_text())["volumes"]) == {"ct", "source"}


def test_a_planning_ct_is_no_source_and_a_cone_beam_ct_needs_no_option(folder, tmp_path, capsys):
    page = tmp_path / "a.html"
    line = ["view", "--source", str(folder / "diag"), "--out", str(page), "--no-open"]
    assert command_line(line) == 2
    assert "--source-modality cbct" in capsys.readouterr().err
    for file in (folder / "diag").iterdir():
        dataset = pydicom.dcmread(file)
        dataset.ManufacturerModelName = "On-Board Imager"
        dataset.save_as(file)
    assert command_line(line) == 0


def test_a_file_name_that_is_not_utf8_costs_no_page(tmp_path, capsys):
    path = tmp_path / os.fsdecode(b"M\xfcller.mha")
    write_image(path, Volume(np.rint(viewed().ct).astype(np.int16), GRID, Modality.CT))
    page = tmp_path / os.fsdecode(b"\xfc.html")
    line = ["view", "--ct", str(path), "--out", str(page), "--no-open"]
    assert command_line(line) == 0
    assert "M\ufffdller.mha" in page.read_text()
    assert command_line([*line, "--overwrite", "--json"]) == 0
    assert capsys.readouterr().out


def test_a_chunk_that_was_cut_short_is_no_picture_of_air(tmp_path, capsys):
    values = np.rint(viewed().ct).astype(np.int16)
    path = write_zarr(tmp_path / "a.zarr", GRID, values, chunks=(4, 8, 8))
    chunk = path / "0" / "c" / "1" / "1" / "1"
    chunk.write_bytes(chunk.read_bytes()[:40])
    assert command_line(["view", "--ct", str(path), "--out", str(tmp_path / "a.html")]) == 2
    assert "the chunk" in capsys.readouterr().err
