"""What is written is read back: the same voxels, and every corner in its position."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from synthct.data.errors import DataError
from synthct.data.readers import describe, read_displacement_image, read_scan
from synthct.data.volume import Displacement, Grid, Modality, Volume
from synthct.data.writers import SUFFIXES, write_displacement_image, write_image
from synthct.data.writers.dicom import write_series

spacings = st.floats(0.3, 6.0).map(lambda x: round(x, 6))
positions = st.floats(-900, 900).map(lambda x: round(x, 6))
angles = st.floats(-180, 180)


@st.composite
def volumes(draw, modality=Modality.CT):
    shape = tuple(draw(st.integers(2, 6)) for _ in range(3))
    matrix = Rotation.from_euler("zyx", [draw(angles) for _ in range(3)], degrees=True).as_matrix()
    if draw(st.booleans()):
        matrix[:, 0] *= -1  # left-handed: slices stored from head to feet
    rows = tuple(tuple(float(v) for v in row) for row in matrix)
    grid = Grid(shape, tuple(draw(spacings) for _ in range(3)),
                tuple(draw(positions) for _ in range(3)), rows)  # fmt: skip
    seed = draw(st.integers(0, 2**32 - 1))
    values = np.random.default_rng(seed).integers(-1024, 3072, shape).astype(np.int16)
    return Volume(values, grid, modality)


def sampled(volume, grid):
    """Voxels of ``volume`` at the voxel centres of ``grid``, its own in some order."""
    index = volume.grid.index(grid.points(np.moveaxis(np.indices(grid.shape), 0, -1)))
    whole = np.rint(index).astype(int)
    assert np.abs(index - whole).max() < 1e-3
    return volume.array[tuple(np.moveaxis(whole, -1, 0))]


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(volume=volumes())
def test_files_keep_every_voxel_and_its_place(tmp_path, suffix, volume):
    path = tmp_path / f"scan{suffix}"
    write_image(path, volume)
    back = read_scan(path, Modality.CT)
    assert back.array.dtype == np.int16
    assert np.array_equal(back.array, volume.array)
    assert np.abs(back.grid.affine - volume.grid.affine).max() < 1e-6


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_other_programs_read_our_nifti_in_its_32_bits(tmp_path, suffix, oblique):
    import nibabel
    import SimpleITK as sitk

    from synthct.data.itk import grid_of

    path = tmp_path / f"scan{suffix}"
    write_image(path, oblique)
    image = nibabel.load(path)
    assert np.array_equal(np.asarray(image.dataobj).T, oblique.array)
    theirs = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(theirs), oblique.array)
    assert np.abs(grid_of(theirs).affine - oblique.grid.affine).max() < 1e-4


@pytest.mark.parametrize(("old", "new"), [(b"-55.5", b"-55.6"), (b"[[", b"{[")])
def test_an_exact_affine_that_contradicts_the_header_is_refused(tmp_path, oblique, old, new):
    path = tmp_path / "scan.nii"
    write_image(path, oblique)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    with pytest.raises(DataError, match="exact affine"):
        read_scan(path, Modality.CT)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(volume=volumes())
def test_dicom_keeps_every_voxel_and_its_place(tmp_path, volume):
    write_series(tmp_path / "s", volume, patient_id="A", study="1", series_description="ct",
                 uid_seed="t")  # fmt: skip
    back = read_scan(tmp_path / "s")
    # Slices come back sorted along their normal: the same points, maybe in flipped order.
    assert back.modality is Modality.CT
    assert np.array_equal(sampled(volume, back.grid), back.array)
    if np.linalg.det(np.asarray(volume.grid.direction)) > 0:
        assert np.abs(back.grid.affine - volume.grid.affine).max() < 1e-6


def test_writing_twice_gives_the_same_bytes(tmp_path, oblique, write_ct):
    def digest(folder):
        files = write_ct(folder, oblique)
        for suffix in SUFFIXES:
            write_image(folder / f"scan{suffix}", oblique)
            files.append(folder / f"scan{suffix}")
        return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]

    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_fractional_mr_comes_back_within_half_a_step(tmp_path):
    values = np.random.default_rng(3).gamma(2.0, 100.0, (4, 8, 8)).astype(np.float32)
    volume = Volume(values, Grid((4, 8, 8), (3.0, 1.0, 1.0)), Modality.MR)
    write_series(tmp_path / "mr", volume, patient_id="A", study="1", series_description="t1",
                 attributes={"RepetitionTime": 500.0, "EchoTime": 15.0}, uid_seed="t")  # fmt: skip
    back = read_scan(tmp_path / "mr")
    step = float(values.max() - values.min()) / 65535
    assert np.abs(back.array - values).max() <= 0.5 * step * 1.01
    assert describe(tmp_path / "mr").sequence["repetition_time_ms"] == 500.0


def test_cbct_is_distinguished_from_ct_by_its_model_not_by_its_folder(tmp_path, oblique, write_ct):
    write_ct(tmp_path / "ct", Volume(oblique.array, oblique.grid, Modality.CBCT))
    write_ct(tmp_path / "cbct", oblique)
    assert read_scan(tmp_path / "ct").modality is Modality.CBCT
    assert read_scan(tmp_path / "cbct").modality is Modality.CT


@pytest.mark.parametrize(
    ("model", "expected"),
    [("OBI Cone-beam CT", "CBCT"), ("On-Board Imager", "CBCT"), ("XVI", "CBCT"),
     ("Discovery ST", "CT"), ("SOMATOM Force", "CT"), ("Brilliance Big Bore", "CT")],
)  # fmt: skip
def test_machine_models_decide_on_cone_beam(tmp_path, oblique, write_ct, model, expected):
    write_ct(tmp_path / "s", oblique, ManufacturerModelName=model)
    assert describe(tmp_path / "s").modality == expected


def test_series_of_one_study_share_frame_but_not_series(tmp_path, oblique):
    import pydicom

    def header(name, study):
        files = write_series(tmp_path / name, oblique, patient_id="A", study=study,
                             series_description=name, uid_seed="t")  # fmt: skip
        return pydicom.dcmread(files[0])

    a, b, c = header("a", "day 1"), header("b", "day 1"), header("c", "day 2")
    assert a.FrameOfReferenceUID == b.FrameOfReferenceUID != c.FrameOfReferenceUID
    assert a.StudyInstanceUID == b.StudyInstanceUID != c.StudyInstanceUID
    assert len({a.SeriesInstanceUID, b.SeriesInstanceUID, c.SeriesInstanceUID}) == 3
    assert a.SOPInstanceUID == a.file_meta.MediaStorageSOPInstanceUID
    assert {a.StudyDate, a.ContentDate} == {"20000101"}


def test_displacement_keeps_vectors_and_their_order(tmp_path, oblique):
    vectors = np.random.default_rng(5).normal(0, 5, (3, *oblique.grid.shape)).astype(np.float32)
    write_displacement_image(tmp_path / "u.mha", Displacement(vectors, oblique.grid))
    back = read_displacement_image(tmp_path / "u.mha")
    assert np.array_equal(back.vectors, vectors)
    assert back.grid.is_close(oblique.grid, 1e-6)
