"""Projections from files and arrays: RTK's geometry, ASTRA's vectors, bad geometry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthct.data.errors import DataError, UsageError
from synthct.data.tomography.cone_beam import ConeBeam, full_circle
from synthct.data.tomography.rtk_geometry import read_projections
from synthct.data.tomography.rtk_writer import write_projections
from synthct.data.tomography.sinogram import Sinogram, from_astra
from synthct.data.tomography.views import Views, views_of
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers import write_image

BEAM = ConeBeam(full_circle(6), (4, 5), (3.0, 2.0), 1000.0, 1536.0, detector_shift_mm=(5.0, -160.0))
VALUES = np.random.default_rng(0).random(BEAM.sinogram_shape, np.float32)

GEOMETRY = """<?xml version="1.0"?>
<!DOCTYPE RTKGEOMETRY>
<RTKThreeDCircularGeometry version="3">
  <SourceToIsocenterDistance>1000</SourceToIsocenterDistance>
  <SourceToDetectorDistance>1536</SourceToDetectorDistance>
  <ProjectionOffsetX>-160</ProjectionOffsetX>
  <ProjectionOffsetY>5</ProjectionOffsetY>
  {views}
</RTKThreeDCircularGeometry>
"""
TILTED = """<Projection><GantryAngle>30</GantryAngle><SourceOffsetX>4</SourceOffsetX>
  <SourceOffsetY>-6</SourceOffsetY><InPlaneAngle>3</InPlaneAngle>
  <OutOfPlaneAngle>2</OutOfPlaneAngle></Projection>"""


def _stack(folder, values=VALUES, spacing=(1.0, 3.0, 2.0), origin=(0.0, -4.5, -4.0)):
    image = folder / "projections.mha"
    write_image(image, Volume(values, Grid(values.shape, spacing, origin), Modality.CT))
    return image


def test_files_that_we_write_are_read_back(tmp_path):
    image, geometry = tmp_path / "p.mha", tmp_path / "g.xml"
    write_projections(image, geometry, Sinogram(VALUES, BEAM))
    found = read_projections(image, geometry)
    assert np.array_equal(found.values, VALUES)
    assert isinstance(found.geometry, ConeBeam)
    assert found.geometry.detector_shift_mm == pytest.approx((5.0, -160.0))
    assert np.allclose(np.unwrap(found.geometry.angles_rad), BEAM.angles_rad)


def test_a_tilted_detector_is_where_rtk_puts_it(tmp_path):
    """Expected: RTK 2.7's GetProjectionCoordinatesToFixedSystemMatrix for these parameters."""
    geometry = tmp_path / "g.xml"
    geometry.write_text(GEOMETRY.format(views=TILTED * 3))
    found = read_projections(_stack(tmp_path, VALUES[:3]), geometry).geometry
    assert isinstance(found, Views)
    matrix = np.array(  # u, v and the point at (0, 0), in RTK's (x, y, z)
        [
            [8.65751795e-01, -2.78984336e-02, -4.06496521e02],
            [5.23040746e-02, 9.98021197e-01, 1.53275843e01],
            [-4.97732973e-01, 5.63504081e-02, -3.83987817e02],
        ]
    )
    corner = matrix @ [-4.0, -4.5, 1.0]  # first pixel (u, v) = (-4, -4.5) mm
    assert found.corner_mm[0] == pytest.approx([corner[1], -corner[2], corner[0]], abs=1e-5)
    u, v = 2 * matrix[:, 0], 3 * matrix[:, 1]
    assert found.along_u_mm[0] == pytest.approx([u[1], -u[2], u[0]], abs=1e-6)
    assert found.along_v_mm[0] == pytest.approx([v[1], -v[2], v[0]], abs=1e-6)
    assert found.source_mm[0][1] == pytest.approx(-863.168810, abs=1e-5)


def test_a_circle_of_parameters_is_the_circle_of_the_simulation(tmp_path):
    views = "".join(
        f"<Projection><GantryAngle>{60 * n}</GantryAngle></Projection>" for n in range(6)
    )
    geometry = tmp_path / "g.xml"
    geometry.write_text(GEOMETRY.format(views=views))
    found = read_projections(_stack(tmp_path), geometry).geometry
    assert isinstance(found, ConeBeam)
    expected, other = views_of(BEAM), views_of(found)
    for name in ("source_mm", "corner_mm", "along_u_mm", "along_v_mm"):
        assert getattr(other, name) == pytest.approx(getattr(expected, name), abs=1e-9)


def test_astra_vectors_describe_the_same_views():
    views = views_of(BEAM)
    rows, columns = views.detector_shape
    middle = (
        views.corner_mm + views.along_u_mm * (columns - 1) / 2 + views.along_v_mm * (rows - 1) / 2
    )
    parts = (views.source_mm, middle, views.along_u_mm, views.along_v_mm)
    vectors = np.concatenate([part[:, ::-1] for part in parts], axis=1)
    found = from_astra(np.moveaxis(VALUES, 0, 1), vectors)
    assert np.array_equal(found.values, VALUES)
    assert isinstance(found.geometry, Views)
    assert found.geometry.corner_mm == pytest.approx(views.corner_mm)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GEOMETRY.format(views=""), "no <Projection>"),
        (GEOMETRY.format(views="<Projection></Projection>"), "no <GantryAngle>"),
        (GEOMETRY.format(views="<Projection><GantryAngle>x</GantryAngle></Projection>"), "'x'"),
        (GEOMETRY.format(views="<Projection><Gantry>1</Gantry></Projection>"), "unknown <Gantry>"),
        (GEOMETRY.replace("1536", "500").format(views=TILTED), "500 mm from the detector"),
        ("<a><b></a>", "not XML"),
        ("<Geometry/>", "its root is <Geometry>"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "it defines entities"),
        (GEOMETRY.format(views="<RadiusCylindricalDetector>900</RadiusCylindricalDetector>"),
         "not supported"),
    ],
)  # fmt: skip
def test_a_geometry_with_a_gap_is_refused_and_not_guessed(tmp_path, text, message):
    geometry = tmp_path / "g.xml"
    geometry.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_projections(_stack(tmp_path), geometry)
    assert caught.value.code == "bad-geometry"


def test_a_misspelt_path_is_not_called_a_broken_geometry(tmp_path):
    with pytest.raises(DataError, match="there is no such file") as caught:
        read_projections(_stack(tmp_path), tmp_path / "geometri.xml")
    assert caught.value.code == "no-file"


def test_misspelt_projections_are_not_called_an_error_of_the_disk(tmp_path):
    stack = _stack(tmp_path)
    with pytest.raises(DataError, match="there is no such file") as caught:
        read_projections(stack.with_name("projektions.mha"), tmp_path / "geometry.xml")
    assert caught.value.code == "no-file"


def test_projections_that_do_not_fit_their_geometry_are_refused(tmp_path):
    with pytest.raises(DataError, match="the projections have the shape") as caught:
        Sinogram(VALUES[:4], BEAM)
    assert caught.value.code == "other-shape"
    two = replace(BEAM, angles_rad=BEAM.angles_rad[:2])
    with pytest.raises(DataError, match="there are 2 views"):
        Sinogram(VALUES[:2], two)
    broken = VALUES.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(DataError, match="1 pixels are NaN"):
        Sinogram(broken, BEAM)
    with pytest.raises(DataError, match="the smallest count is -1"):
        Sinogram(np.full_like(VALUES, -1), BEAM, open_beam=100.0)
    with pytest.raises(UsageError, match="the open beam is 0"):
        Sinogram(VALUES, BEAM, open_beam=0.0)


def test_counts_become_line_integrals_with_their_weights():
    counts = np.full(BEAM.sinogram_shape, 50.0, np.float32)
    counts[0, 0, 0] = 0
    scan = Sinogram(counts, BEAM, open_beam=100.0)
    assert float(scan.lines()[1, 0, 0]) == pytest.approx(np.log(2))
    assert float(scan.lines()[0, 0, 0]) == pytest.approx(np.log(100))  # one quantum at least
    by_photons, weights = scan.weights(0.0), scan.weights(0.1)
    assert by_photons is not None
    assert weights is not None
    assert float(by_photons[0, 0, 0]) == pytest.approx(1 / 50)
    # variances 1 / 50 and 1, each with 0.01 of other causes
    assert float(weights[0, 0, 0]) == pytest.approx(0.03 / 1.01)
    assert float(weights[1, 0, 0]) == 1.0
    assert Sinogram(VALUES, BEAM).weights() is None
