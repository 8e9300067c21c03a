from dataclasses import replace

import numpy as np
import pytest

from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.registration.job import flattened, prepared

GRID = Grid((24, 40, 40), (5.0, 4.0, 4.0))


@pytest.fixture
def scene():
    """Fine texture, a slow shading over 160 mm and a body that leaves a border of air."""
    _, y, x = np.meshgrid(
        *[np.arange(n) * s for n, s in zip(GRID.shape, GRID.spacing_mm, strict=True)],
        indexing="ij",
    )
    texture = (40 * np.sin(y / 5) * np.sin(x / 5)).astype(np.float32)
    shading = (300 * np.cos(2 * np.pi * x / 320)).astype(np.float32)
    body = np.zeros(GRID.shape, bool)
    body[2:-2, 4:-4, 4:-4] = True
    return texture, shading, body


def test_slow_shading_is_removed_and_texture_is_kept(scene):
    texture, shading, body = scene
    found = flattened(texture + shading, body, GRID.spacing_mm, 20.0)
    core = np.zeros_like(body)
    core[6:-6, 10:-10, 10:-10] = True
    before = np.corrcoef((texture + shading)[core], texture[core])[0, 1]
    after = np.corrcoef(found[core], texture[core])[0, 1]
    assert before < 0.3
    assert after > 0.75


def test_a_wave_loses_what_a_gaussian_keeps_of_it():
    # A Gaussian of 20 mm keeps exp(-2 pi^2 (20 / 320)^2) = 0.926 of a wave of 320 mm. The crest
    # lies 80 mm, four standard deviations, from either face.
    x = np.arange(GRID.shape[2]) * GRID.spacing_mm[2]
    wave = np.broadcast_to(300 * np.sin(2 * np.pi * x / 320), GRID.shape).astype(np.float32)
    found = flattened(wave, np.ones(GRID.shape, bool), GRID.spacing_mm, 20.0)
    expected = 300 * (1 - np.exp(-2 * np.pi**2 * (20 / 320) ** 2))
    assert found[12, 20, 20] == pytest.approx(expected, rel=0.02)


def test_air_does_not_pull_the_skin_down(scene):
    _, _, body = scene
    image = np.where(body, 100.0, -1000.0).astype(np.float32)
    found = flattened(image, body, GRID.spacing_mm, 20.0)
    np.testing.assert_allclose(found[body], 0.0, atol=1e-3)


def test_only_the_similarity_sees_it(scene, quick):
    texture, shading, body = scene
    scan = Volume(texture + shading, GRID, Modality.CT)
    kept = scan.array.copy()
    prepared(scan, body, replace(quick, flatten_mm=20.0))
    np.testing.assert_array_equal(scan.array, kept)


def test_a_metal_filling_does_not_dominate_the_histogram(quick):
    array = np.zeros(GRID.shape, np.float32)
    array[0, 0, 0], array[0, 0, 1] = 30000.0, -3000.0
    scan = Volume(array, GRID, Modality.CT)
    found = prepared(scan, np.ones(GRID.shape), replace(quick, ct_window_hu=(-200.0, 250.0)))
    assert (found.array.min(), found.array.max()) == (-200.0, 250.0)


def test_mr_is_clipped_by_its_own_body_not_by_hounsfield_numbers(quick):
    array = np.random.default_rng(0).uniform(0, 5000, GRID.shape).astype(np.float32)
    array[0, 0, 0] = 1e6
    found = prepared(Volume(array, GRID, Modality.MR), np.ones(GRID.shape), quick)
    assert 4900 < found.array.max() < 5000
