"""Faults of geometry and unit, each planted into a sound DICOM series or image file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import generate_uid

from benchmarks._clean_scans import clean_patient
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers import write_image
from synthct.data.writers.dicom import write_series

Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class Planted:
    """A scan with one fault.

    Parameters
    ----------
    path
        Folder of the series, or file.
    modality
        What it is given as.
    truth
        What a repair must give back; None where nothing is to be repaired.
    """

    path: Path
    modality: Modality
    truth: Volume | None = None


@dataclass(frozen=True)
class Kind:
    """One kind of fault: how it is planted, and the codes that may name it."""

    plant: Callable[[Path, Volume, Rng], Planted]
    codes: frozenset[str]


KINDS: dict[str, Kind] = {}


def kind(*codes: str) -> Callable[[Callable[[Path, Volume, Rng], Planted]], Any]:
    """Enter the decorated planter; its name is the name of the kind."""

    def add(plant: Callable[[Path, Volume, Rng], Planted]) -> Any:
        KINDS[plant.__name__.replace("_", " ")] = Kind(plant, frozenset(codes))
        return plant

    return add


def series(folder: Path, ct: Volume, **attributes: Any) -> list[Path]:
    """The volume as a DICOM series."""
    return write_series(folder, ct, patient_id="P", study="1", series_description="s",
                        uid_seed="faults", attributes=attributes)  # fmt: skip


def edit(files: list[Path], values: Callable[[int, pydicom.Dataset], Mapping[str, Any]]) -> None:
    """Change elements of each file."""
    for number, file in enumerate(files):
        dataset = pydicom.dcmread(file)
        for keyword, value in values(number, dataset).items():
            setattr(dataset, keyword, value)
        dataset.save_as(file)


def _moved(dataset: pydicom.Dataset, shift_xyz: Any) -> dict[str, Any]:
    place = np.asarray(dataset.ImagePositionPatient, float) + shift_xyz
    return {"ImagePositionPatient": [f"{value:.6f}" for value in place]}


def _some(rng: Rng, count: int, edge: int = 3) -> int:
    return int(rng.integers(edge, count - edge))


@kind("missing-slices")
def missing_slices(folder: Path, ct: Volume, rng: Rng) -> Planted:
    files = series(folder, ct)
    for file in files[(at := _some(rng, len(files))) : at + int(rng.integers(1, 3))]:
        file.unlink()
    return Planted(folder, ct.modality)


@kind("repeated-slices")
def repeated_slices(folder: Path, ct: Volume, rng: Rng) -> Planted:
    files = series(folder, ct)
    file = files[_some(rng, len(files))]
    shutil.copy(file, folder / "again.dcm")
    edit([folder / "again.dcm"], lambda *_: {"SOPInstanceUID": generate_uid()})
    return Planted(folder, ct.modality, ct)


@kind("duplicate-slices")
def two_images_at_one_place(folder: Path, ct: Volume, rng: Rng) -> Planted:
    files = series(folder, ct)
    other = series(folder / "other", ct.with_array(ct.array + 1))
    at = _some(rng, len(files))
    one = pydicom.dcmread(files[at])
    edit([other[at]], lambda *_: {"SeriesInstanceUID": one.SeriesInstanceUID})
    shutil.move(other[at], folder / "again.dcm")
    shutil.rmtree(folder / "other")
    return Planted(folder, ct.modality)


@kind("shuffled-slices")
def shuffled_instance_numbers(folder: Path, ct: Volume, rng: Rng) -> Planted:
    files = series(folder, ct)
    numbers = rng.permutation(len(files))
    edit(files, lambda at, _: {"InstanceNumber": str(numbers[at] + 1)})
    return Planted(folder, ct.modality, ct)


@kind("slices-shuffled", "slice-misplaced")
def shuffled_places(folder: Path, ct: Volume, rng: Rng) -> Planted:
    order = rng.permutation(ct.array.shape[0])
    series(folder, ct.with_array(ct.array[order]))
    return Planted(folder, ct.modality)


@kind("slice-misplaced")
def two_slices_exchanged(folder: Path, ct: Volume, rng: Rng) -> Planted:
    order = np.arange(ct.array.shape[0])
    at = _some(rng, len(order), 4)
    order[at], order[at + 1] = order[at + 1], order[at]
    series(folder, ct.with_array(ct.array[order]))
    return Planted(folder, ct.modality)


@kind("slice-misplaced")
def a_slice_of_another_place(folder: Path, ct: Volume, rng: Rng) -> Planted:
    array = ct.array.copy()
    at, depth = _some(rng, len(array), 4), len(array)
    array[at] = array[(at + depth // 2) % depth]
    series(folder, ct.with_array(array))
    return Planted(folder, ct.modality)


@kind("slice-content-repeated")
def one_image_at_two_places(folder: Path, ct: Volume, rng: Rng) -> Planted:
    array = ct.array.copy()
    at = _some(rng, len(array))
    array[at] = array[at - 1]
    series(folder, ct.with_array(array))
    return Planted(folder, ct.modality)


@kind("uneven-spacing", "missing-slices")
def uneven_spacing(folder: Path, ct: Volume, rng: Rng) -> Planted:
    files = series(folder, ct)
    at, part = _some(rng, len(files)), float(rng.uniform(0.2, 0.7))
    shift = np.array([0, 0, part * ct.grid.spacing_mm[0]])
    edit(files, lambda n, one: _moved(one, shift * (n >= at)))
    return Planted(folder, ct.modality)


@kind("gantry-tilt")
def gantry_tilt(folder: Path, ct: Volume, rng: Rng) -> Planted:
    files = series(folder, ct)
    slope = np.tan(np.radians(rng.uniform(2, 25))) * ct.grid.spacing_mm[0]
    edit(files, lambda n, one: _moved(one, np.array([0, slope * n, 0])))
    return Planted(folder, ct.modality)


@kind("mixed-orientation")
def mixed_orientation(folder: Path, ct: Volume, rng: Rng) -> Planted:
    files = series(folder, ct)
    edit([files[_some(rng, len(files))]],
         lambda *_: {"ImageOrientationPatient": ["1", "0", "0", "0", "0", "-1"]})  # fmt: skip
    return Planted(folder, ct.modality)


@kind("mixed-rows", "mixed-columns")
def mixed_size(folder: Path, ct: Volume, rng: Rng) -> Planted:
    files = series(folder, ct)
    one = pydicom.dcmread(files[(at := _some(rng, len(files)))])
    pixels = one.pixel_array[:-2]
    one.Rows, one.PixelData = pixels.shape[0], pixels.tobytes()
    one.save_as(files[at])
    return Planted(folder, ct.modality)


@kind("mixed-pixelspacing")
def mixed_pixel_spacing(folder: Path, ct: Volume, rng: Rng) -> Planted:
    files = series(folder, ct)
    step = ct.grid.spacing_mm[1] * float(rng.uniform(1.05, 2))
    edit([files[_some(rng, len(files))]], lambda *_: {"PixelSpacing": [f"{step:.4f}"] * 2})
    return Planted(folder, ct.modality)


@kind("mixed-rescale")
def mixed_rescale_with_its_pixels(folder: Path, ct: Volume, rng: Rng) -> Planted:
    files = series(folder, ct)
    for at in rng.choice(len(files), 4, replace=False):
        one = pydicom.dcmread(files[at])
        shift = int(rng.integers(20, 400))
        one.PixelData = (one.pixel_array + shift).astype(np.uint16).tobytes()
        one.RescaleIntercept = f"{float(one.RescaleIntercept) - shift:g}"
        one.save_as(files[at])
    return Planted(folder, ct.modality, ct)


@kind("slice-jump")
def mixed_rescale_of_the_header_alone(folder: Path, ct: Volume, rng: Rng) -> Planted:
    files = series(folder, ct)
    at = _some(rng, len(files), 5)
    edit(files[at:], lambda *_: {"RescaleIntercept": "0"})
    return Planted(folder, ct.modality)


@kind("several-series")
def two_series_in_one_folder(folder: Path, ct: Volume, rng: Rng) -> Planted:
    series(folder, ct)
    array = ct.array + int(rng.integers(1, 9))
    for file in series(folder / "b", ct.with_array(array)):
        file.rename(folder / f"b{file.name}")
    (folder / "b").rmdir()
    return Planted(folder, ct.modality)


@kind("few-slices", "not-3d")
def two_slices(folder: Path, ct: Volume, rng: Rng) -> Planted:
    at = _some(rng, ct.array.shape[0])
    series(folder, ct.crop((at, 0, 0), (at + 2, *ct.array.shape[1:])))
    return Planted(folder, ct.modality)


def _scaled(ct: Volume, factors: tuple[float, float, float]) -> Volume:
    z, y, x = (step * factor for step, factor in zip(ct.grid.spacing_mm, factors, strict=True))
    grid = Grid(ct.grid.shape, (z, y, x), ct.grid.origin_mm)
    return Volume(ct.array, grid, ct.modality)


@kind("too-small")
def cm_for_mm(folder: Path, ct: Volume, rng: Rng) -> Planted:
    series(folder, _scaled(ct, (0.1, 0.1, 0.1)))
    return Planted(folder, ct.modality)


@kind("too-coarse")
def um_for_mm(folder: Path, ct: Volume, rng: Rng) -> Planted:
    write_image(folder / "ct.nii.gz", _scaled(ct, (1000.0, 1000.0, 1000.0)))
    return Planted(folder / "ct.nii.gz", ct.modality)


@kind("thickness-mismatch")
def positions_in_cm(folder: Path, ct: Volume, rng: Rng) -> Planted:
    series(folder, _scaled(ct, (0.1, 1, 1)), SliceThickness=float(ct.grid.spacing_mm[0]))
    return Planted(folder, ct.modality)


@kind("too-small", "too-coarse")
def pixel_spacing_in_cm(folder: Path, ct: Volume, rng: Rng) -> Planted:
    series(folder, _scaled(ct, (1, 0.1, 0.1)))
    return Planted(folder, ct.modality)


@kind("direction-rounded")
def rounded_cosines(folder: Path, ct: Volume, rng: Rng) -> Planted:
    turn = np.radians(rng.uniform(4, 20))
    c, s = float(np.cos(turn)), float(np.sin(turn))
    grid = Grid(ct.grid.shape, ct.grid.spacing_mm, ct.grid.origin_mm,
                ((1.0, 0.0, 0.0), (0.0, c, s), (0.0, -s, c)))  # fmt: skip
    files = series(folder, Volume(ct.array, grid, ct.modality))
    off = 1 + float(rng.choice([-1, 1]) * rng.uniform(5e-4, 2e-3))
    edit(files, lambda _, one: {
        "ImageOrientationPatient": [f"{float(v) * off:.8f}" for v in one.ImageOrientationPatient]
    })  # fmt: skip
    return Planted(folder, ct.modality, Volume(ct.array, grid, ct.modality))


@kind("hu-offset")
def rescale_left_out(folder: Path, ct: Volume, rng: Rng) -> Planted:
    edit(series(folder, ct), lambda *_: {"RescaleIntercept": "0"})
    return Planted(folder, ct.modality)


@kind("rescale-twice")
def rescale_applied_twice(folder: Path, ct: Volume, rng: Rng) -> Planted:
    edit(series(folder, ct), lambda *_: {"RescaleIntercept": "-2048"})
    return Planted(folder, ct.modality)


@kind("tissue-off")
def wrong_slope(folder: Path, ct: Volume, rng: Rng) -> Planted:
    slope = f"{rng.uniform(1.5, 2.5):.3f}"
    edit(series(folder, ct), lambda *_: {"RescaleSlope": slope})
    return Planted(folder, ct.modality)


@kind("inverted")
def inverted(folder: Path, ct: Volume, rng: Rng) -> Planted:
    series(folder, ct.with_array(-np.clip(ct.array, -1000, 1500)))
    return Planted(folder, ct.modality)


@kind("not-hounsfield", "wrong-modality")
def normalised(folder: Path, ct: Volume, rng: Rng) -> Planted:
    values = np.clip(ct.array, -1000, 3000).astype(np.float32)
    low, high = (0.0, 1.0) if rng.random() < 0.5 else (-1.0, 1.0)
    scaled = low + (values + 1000) / 4000 * (high - low)
    write_image(folder / "ct.nii.gz", ct.with_array(scaled.astype(np.float32)))
    return Planted(folder / "ct.nii.gz", ct.modality)


@kind("not-hounsfield", "wrong-modality")
def wrong_sign(folder: Path, ct: Volume, rng: Rng) -> Planted:
    files = series(folder, ct.with_array(np.minimum(ct.array, 3000).astype(np.int16)))
    for file in files:
        one = pydicom.dcmread(file)
        pixels = one.pixel_array.astype(np.int32) + int(float(one.RescaleIntercept))
        one.PixelData, one.RescaleIntercept = pixels.astype("<i2").tobytes(), "0"
        one.PixelRepresentation = 0  # the pixels are signed, the header says they are not
        one.save_as(file)
    return Planted(folder, ct.modality)


@kind("scrambled", "not-hounsfield", "wrong-modality")
def wrong_byte_order(folder: Path, ct: Volume, rng: Rng) -> Planted:
    for file in series(folder, ct):
        one = pydicom.dcmread(file)
        one.PixelData = one.pixel_array.byteswap().tobytes()
        one.save_as(file)
    return Planted(folder, ct.modality)


@kind("not-finite")
def some_nan(folder: Path, ct: Volume, rng: Rng) -> Planted:
    values = ct.array.astype(np.float32)
    air = np.argwhere(values == -1000)
    spots = air[rng.choice(len(air), min(5, len(air)), replace=False)]
    values[tuple(spots.T)] = rng.choice([np.nan, np.inf])
    write_image(folder / "ct.nii.gz", ct.with_array(values))
    return Planted(folder / "ct.nii.gz", ct.modality, ct)


@kind("not-finite")
def many_nan(folder: Path, ct: Volume, rng: Rng) -> Planted:
    values = ct.array.astype(np.float32)
    values[rng.random(values.shape) < 0.05] = np.nan
    write_image(folder / "ct.nii.gz", ct.with_array(values))
    return Planted(folder / "ct.nii.gz", ct.modality)


@kind("constant")
def constant(folder: Path, ct: Volume, rng: Rng) -> Planted:
    series(folder, ct.with_array(np.full_like(ct.array, int(rng.integers(-1000, 100)))))
    return Planted(folder, ct.modality)


@kind("wrong-modality", "no-rescale")
def an_mr_called_ct(folder: Path, ct: Volume, rng: Rng) -> Planted:
    values = np.clip((ct.array.astype(np.int32) + 1000) // 3 + rng.integers(0, 9), 0, None)
    write_image(folder / "ct.nii.gz", ct.with_array(values.astype(np.int16)))
    return Planted(folder / "ct.nii.gz", ct.modality)


@kind("wrong-modality")
def a_ct_called_mr(folder: Path, ct: Volume, rng: Rng) -> Planted:
    write_image(folder / "mr.nii.gz", Volume(ct.array, ct.grid, Modality.MR))
    return Planted(folder / "mr.nii.gz", Modality.MR)


@kind("missing-tag")
def no_position(folder: Path, ct: Volume, rng: Rng) -> Planted:
    files = series(folder, ct)
    edit([files[_some(rng, len(files))]], lambda *_: {"ImagePositionPatient": None})
    return Planted(folder, ct.modality)


@kind("mixed-orientation", "mixed-rows")
def a_localizer_in_the_series(folder: Path, ct: Volume, rng: Rng) -> Planted:
    files = series(folder, ct)
    one = pydicom.dcmread(files[0])
    one.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    one.ImageOrientationPatient = ["1", "0", "0", "0", "0", "-1"]
    one.save_as(folder / "scout.dcm")
    return Planted(folder, ct.modality)


def sound_ct(number: int) -> tuple[str, Volume]:
    """Region and CT of digital patient ``number``, as whole HU between air and metal."""
    region, patient = clean_patient(number)
    values = np.clip(np.rint(patient.ct.array), -1000, 3071).astype(np.int16)
    return region, patient.ct.with_array(values)
