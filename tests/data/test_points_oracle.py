"""Whatever geometry and encoding: a voxel that is read lies where its value was made."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthct.data.errors import DataError
from synthct.data.readers import read_scan
from synthct.data.volume import Modality
from tests.data import points, wild_dicom, wild_images

ROUNDING_HU = 0.5
EXACT_MM = 0.01
"""What 32-bit headers and twelve digits leave."""

sides = st.tuples(*[st.integers(3, 9)] * 3)
steps = st.tuples(*[st.floats(0.4, 5.0).map(lambda v: round(v, 4))] * 3)
centres = st.tuples(*[st.floats(-40, 40).map(lambda v: round(v, 3))] * 3)
tilts = st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.0, 0.3, 5.0, 17.0, -33.0]))


@st.composite
def grids(draw, turned=True, right_handed=False):
    turn = np.eye(3)
    if turned:
        turn = points.rotation(*draw(tilts)) @ points.TURNS[draw(st.integers(0, 47))]
    if right_handed and np.linalg.det(turn) < 0:
        turn[:, 2] = -turn[:, 2]
    return points.grid(draw(sides), draw(steps), turn, draw(centres))


@st.composite
def dicoms(draw):
    """A writer of a folder, and how far positions may be off [mm]."""
    where = draw(grids(right_handed=True))
    kind, intercept, bits = draw(st.sampled_from([
        ("i2", 0.0, 16), ("u2", -1024.0, 16), ("u2", -1024.0, 12), ("i2", 0.0, 12),
        ("i4", 0.0, 32),
    ]))  # fmt: skip
    tail = draw(st.sampled_from([
        {}, {"excess": b"\0\0"}, {"excess": b"\x20" * 600}, {"tail": b"\0" * 512},
        {"after": ((0x7FE10010, "LO", "SOME MAKER"), (0x7FE11010, "OB", b"\1\2\3\4"))},
        {"after": ((0xFFFCFFFC, "OB", b"\0" * 126),)},
    ]))  # fmt: skip
    packed = kind != "i4" and not tail and draw(st.booleans())
    way = wild_dicom.Way(
        kind=kind, intercept=intercept, stored_bits=bits, compressed=packed,
        implicit=not packed and draw(st.booleans()),
        spelled=draw(st.sampled_from(["{:.10g}", "{:.6f}", "{:.6e}"])), **tail,
    )  # fmt: skip
    if draw(st.booleans()):
        order = draw(st.permutations(range(where.shape[0])))
        top = draw(st.sampled_from([(), ("position",), ("rescale",), ("position", "rescale")]))
        per_frame = draw(st.booleans())
        way.spelled, way.kind, way.intercept, way.stored_bits = "{:.10g}", "u2", -1024.0, 16
        return lambda folder, values: wild_dicom.write_enhanced(
            folder / "one.dcm", where, values, way, order=order, per_frame=per_frame, top=top
        ), where  # fmt: skip

    def classic(folder, values):
        wild_dicom.write_series(folder / "scan", where, values, way)
        return folder / "scan"

    return classic, where


@st.composite
def niftis(draw):
    where = draw(grids())
    order, packed = draw(st.sampled_from("<>")), draw(st.booleans())
    slope, intercept, kind = draw(st.sampled_from(
        [(1.0, 0.0, "i2"), (0.0, -1024.0, "i2"), (np.nan, np.nan, "i2"), (np.nan, 0.0, "f4"),
         (1.0, -1024.0, "u2"), (-1.0, 0.0, "i2"), (2.0, 1.0, "f8")]
    ))  # fmt: skip
    line = (slope, intercept) if slope and np.isfinite(slope) else (1.0, 0.0)
    codes = draw(st.sampled_from([(1, 1), (0, 1), (1, 2)]))
    more = draw(st.sampled_from([None, (4, 1), (5, 1, 1)]))
    dim = more and (more[0], *where.shape[::-1], *[1] * 4)

    def write(folder, values):
        stored = ((values.astype(float) - line[1]) / line[0]).astype(kind)
        return wild_images.write_nifti(
            folder / f"scan.nii{'.gz' * packed}", where, stored, slope=slope, intercept=intercept,
            codes=codes, order=order, dim=dim,
        )  # fmt: skip

    return write, where


UNITS = [("", 1.0), ("mm", 1.0), ("um", 1e-3), ("cm", 10.0)]


@st.composite
def metaimages(draw):
    where = draw(grids())
    unit, unit_mm = draw(st.sampled_from(UNITS))
    axes, packed = draw(st.sampled_from([3, 3, 4, 5])), draw(st.booleans())
    slope, offset = draw(st.sampled_from([(1, 0), (1, -1024), (2, 3), (0.5, -100)]))
    said = {"ElementToIntensityFunctionSlope": slope, "ElementToIntensityFunctionOffset": offset}
    fields = said if (slope, offset) != (1, 0) or draw(st.booleans()) else {}

    def write(folder, values):
        kind = "f4" if slope in (2, 0.5) else "i2"
        return wild_images.write_mha(
            folder / "scan.mha", where, ((values - float(offset)) / slope).astype(kind),
            axes=axes, unit=unit, unit_mm=unit_mm, packed=packed, **fields,
        )  # fmt: skip

    return write, where


@st.composite
def nrrds(draw):
    where = draw(grids())
    unit, unit_mm = draw(st.sampled_from([*UNITS, ("m", 1000.0), ("\N{MICRO SIGN}m", 1e-3)]))
    options = {
        "space": draw(st.sampled_from(list(wild_images.SPACES))), "unit": unit,
        "unit_mm": unit_mm, "packed": draw(st.booleans()),
        "extra": draw(st.sampled_from(["", "first", "last"])),
        "eol": draw(st.sampled_from(["\n", "\r\n"])),
    }  # fmt: skip
    return lambda folder, values: wild_images.write_nrrd(
        folder / "scan.nrrd", where, values, **options
    ), where


@st.composite
def zarrs(draw):
    where = draw(grids(turned=False))
    unit, unit_mm = draw(st.sampled_from([("millimeter", 1.0), ("micrometer", 1e-3)]))
    shards = draw(st.sampled_from([None, (8, 8, 4), (4, 4, 8)]))
    options = {
        "version": 3 if shards else draw(st.sampled_from([2, 3])), "shards": shards,
        "fill": draw(st.sampled_from([0, -1000, -3024])), "lead": draw(st.integers(0, 2)),
        "unit": unit, "unit_mm": unit_mm,
    }  # fmt: skip
    return lambda folder, values: wild_images.write_zarr(
        folder / "scan.zarr", where, values, **options
    ), where


SOURCES = st.one_of(dicoms(), dicoms(), niftis(), metaimages(), nrrds(), zarrs())


def require_true_voxels(source):
    """What is written is read, nowhere else and with no other values."""
    write, where = source
    values = points.image(where)
    with tempfile.TemporaryDirectory() as name:
        path = write(Path(name), values)
        try:
            found = read_scan(path, Modality.CT)
        except DataError as fault:  # every drawn source is sound
            raise AssertionError(f"refused: {fault}") from fault
    assert sorted(found.grid.shape) == sorted(where.shape)
    assert points.worst(found) <= ROUNDING_HU + EXACT_MM * points.STEEPEST
    corners = [where.points(np.array(c)) for c in ((0, 0, 0), np.array(where.shape) - 1)]
    index = found.grid.index(np.array(corners))
    assert np.abs(index - np.rint(index)).max() < 0.02, "the box of the scan moved"


QUICK = settings(
    max_examples=60, deadline=None, database=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@QUICK
@given(SOURCES)
def test_every_voxel_lies_where_its_value_was_made(source):
    require_true_voxels(source)


@pytest.mark.slow
@settings(QUICK, max_examples=500, derandomize=False)
@given(SOURCES)
def test_five_hundred_ways_to_write_a_scan_are_all_read_right(source):
    require_true_voxels(source)
