"""Nose, ears and fingers stay in the outline; plates, masks and wires stay out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from synthct.data.phantom.canvas import Canvas
from synthct.data.phantom.neck import build
from synthct.data.phantom.patient import centred_grid
from synthct.data.phantom.shapes import ellipsoid, turned
from synthct.data.phantom.tissues import LABEL
from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.body import body_mask
from synthct.tasks.ingestion.params import BodyParams
from synthct.tasks.prediction.release import ReleaseDescription

VOXEL_MM = (2.0, 1.5, 1.5)
BEFORE = BodyParams(thin_parts_mm=0)


def head_with_ears():
    """Labels of a digital head between jaw and brow, and its ears alone."""
    grid = centred_grid((90.0, 270.0, 232.0), VOXEL_MM)
    canvas = Canvas(grid, np.random.default_rng(3))
    build(canvas, np.random.default_rng(3))
    before = canvas.labels.copy()
    for side in (-1, 1):
        ear = ellipsoid((0, 22, side * 92), (28, 4, 18), turn=turned(z_deg=side * 25))
        canvas.paint(ear, "cartilage", over=("outside_air",))
    return Volume(canvas.labels, grid, Modality.LABELS), (before == 0) & (canvas.labels > 0)


@pytest.fixture(scope="module")
def head():
    labels, ears = head_with_ears()
    body = labels.array > 0
    hu = np.where(body, 40, -1000) + np.random.default_rng(0).normal(0, 40, body.shape)
    hu[(labels.array == LABEL["airway"]) | (labels.array == LABEL["gas"])] = -1000
    return Volume(hu.astype(np.int16), labels.grid, Modality.CBCT), body, ears


def share(outline, part):
    return np.count_nonzero((outline > 0) & part) / np.count_nonzero(part)


def test_ears_of_a_digital_head_are_not_turned_into_air(head):
    scan, body, ears = head
    assert ears.sum() > 500
    cut = body_mask(scan, BEFORE, "head-neck").array
    kept = body_mask(scan, BodyParams(), "head-neck").array
    assert share(cut, ears) < 0.6  # the harm: what the opening alone leaves of them
    assert share(kept, ears) > 0.9
    assert share(kept, body) > 0.99


def test_the_outline_does_not_grow_elsewhere(head):
    scan, body, _ = head
    kept = body_mask(scan, BodyParams(), "head-neck").array > 0
    cut = body_mask(scan, BEFORE, "head-neck").array > 0
    outside = np.count_nonzero(kept & ~body) - np.count_nonzero(cut & ~body)
    assert outside < 0.01 * np.count_nonzero(body)  # the folds behind the ears are closed


def block(**parts):
    """A body of 60 x 90 x 90 mm with thin parts by name: boxes of voxels (z, y, x)."""
    grid = centred_grid((120.0, 165.0, 240.0), VOXEL_MM)
    hu = np.full(grid.shape, -1000, np.int16)
    hu[15:45, 20:80, 50:110] = 40
    for box in parts.values():
        hu[box] = 40
    return Volume(hu, grid, Modality.CBCT)


def at(z, y, x):
    return tuple(slice(*part) for part in (z, y, x))


FINGER = at((28, 32), (40, 44), (110, 150))
PLATE = at((0, 60), (80, 83), (0, 160))
SHELL = at((0, 60), (16, 18), (30, 130))
WIRE = at((30, 31), (10, 12), (0, 160))
STRAP = at((20, 22), (18, 20), (40, 125))


def test_a_finger_is_kept():
    outline = body_mask(block(finger=FINGER), BodyParams(), "other").array > 0
    assert outline[FINGER].mean() > 0.9


@pytest.mark.parametrize(
    "box", [PLATE, SHELL, WIRE, STRAP], ids=["plate", "shell", "wire", "strap"]
)
def test_what_is_longer_than_a_thin_part_of_a_body_is_not_body(box):
    scan = block(other=box)
    kept, cut = (body_mask(scan, params, "other").array.sum() for params in (BodyParams(), BEFORE))
    assert kept < 1.005 * cut


def test_a_speck_that_touches_nothing_is_not_body():
    speck = at((28, 32), (40, 44), (130, 140))
    assert not body_mask(block(speck=speck), BodyParams(), "other").array[speck].any()


def test_a_release_from_before_is_outlined_as_it_was():
    """Otherwise an old release would predict other voxels than when it was made."""
    model = {
        "source": "cbct", "fold": 0, "network": {"name": "unet_plus_plus"}, "patch_size": [32, 32],
        "divisor": 16, "spacing_mm": [2.0, 1.5, 1.5], "source_scaling": {"kind": "min_p99.5"},
        "target_scaling": {},
    }  # fmt: skip
    member = {"fold": 0, "onnx": "a.onnx", "weights": "a.safetensors", "network": {"name": "x"}}
    old = {"source": "cbct", "members": [member], "preprocessing": model}
    for ingestion in ({}, {"ingestion": {"body": {"opening_mm": 4.0}}}):
        read = ReleaseDescription.from_text(json.dumps(old | ingestion))
        assert read.ingestion.body.thin_parts_mm == 0
    written = ReleaseDescription.from_text(json.dumps(old)).model_copy(
        update={"ingestion": read.ingestion.model_copy(update={"body": BodyParams()})}
    )
    again = ReleaseDescription.from_text(written.as_text())
    assert again.ingestion.body.thin_parts_mm == BodyParams().thin_parts_mm
