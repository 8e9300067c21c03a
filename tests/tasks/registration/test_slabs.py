import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt, gaussian_filter

from synthct.tasks.fields.geometry import grown
from synthct.tasks.fields.slabs import slabs
from synthct.tasks.registration.agreement import gradient_agreement, normalised_mutual_information


@pytest.fixture
def thin(monkeypatch):
    """Slabs of a slice or two, in small scans too."""
    monkeypatch.setitem(slabs.__kwdefaults__, "voxels", 100)
    monkeypatch.setattr("synthct.tasks.fields.geometry.DISTANCE_VOXELS", 100)
    monkeypatch.setattr("synthct.tasks.registration.agreement.CHUNK", 64)


def random_mask(seed, shape=(9, 14, 11), share=0.3):
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, bool)
    mask[2:8, 3:12, 1:-2] = rng.random((6, 9, 8)) < share
    return mask


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 99), st.tuples(*[st.integers(0, 3)] * 3), st.sampled_from([1, 50, 200, 10_000])
)
def test_every_masked_voxel_is_visited_once_and_in_order(seed, halo, voxels):
    mask = random_mask(seed)
    values = np.arange(mask.size).reshape(mask.shape)
    found = [values[slab.box][slab.here] for slab in slabs(mask, halo, voxels=voxels)]
    np.testing.assert_array_equal(np.concatenate(found), values[mask])


def test_a_slab_sees_its_neighbours_as_far_as_the_scan_goes():
    mask = np.zeros((6, 5, 5), bool)
    mask[1:5, 0, 2:4] = True
    boxes = [slab.box for slab in slabs(mask, (2, 1, 1), voxels=2)]
    assert [(z.start, z.stop) for z, _, _ in boxes] == [(0, 4), (0, 5), (1, 6), (2, 6)]
    assert {(y.start, y.stop, x.start, x.stop) for _, y, x in boxes} == {(0, 2, 1, 5)}


def test_an_empty_mask_has_no_slab():
    assert list(slabs(np.zeros((3, 3, 3), bool), (1, 1, 1))) == []


@pytest.mark.parametrize("margin_mm", [0.0, 0.9, 2.6, 40.0])
def test_a_margin_grows_across_slabs_as_across_the_whole_scan(thin, margin_mm):
    mask, spacing = random_mask(0, share=0.05), (1.3, 0.7, 0.9)
    whole = distance_transform_edt(~mask, sampling=spacing) <= margin_mm
    np.testing.assert_array_equal(grown(mask, spacing, margin_mm), whole)


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_figures_by_slabs_are_those_of_the_whole_scan(thin, kind):
    rng, mask, spacing = np.random.default_rng(0), random_mask(1, share=0.8), (1.3, 0.7, 0.9)
    first = (gaussian_filter(rng.normal(size=mask.shape), 1) * 2000).astype(kind)
    second = (np.abs(first) + 300 * rng.normal(size=mask.shape)).astype(kind)
    a, b = (_clipped(image, mask) for image in (first, second))
    joint = np.histogram2d(a[mask], b[mask], bins=16)[0]
    p = joint / joint.sum()
    together, apart = _entropy(p), _entropy(p.sum(axis=0)) + _entropy(p.sum(axis=1))
    found = normalised_mutual_information(first, second, mask, bins=16)
    assert found == pytest.approx(apart / together, rel=1e-12)
    slopes = [
        np.stack(np.gradient(gaussian_filter(image, 1.0), *spacing))[:, mask] for image in (a, b)
    ]
    squares = [(slope**2).sum(axis=0) for slope in slopes]
    noise = [np.sqrt(square).mean() ** 2 for square in squares]
    cosine = (slopes[0] * slopes[1]).sum(axis=0) ** 2
    expected = (cosine / ((squares[0] + noise[0]) * (squares[1] + noise[1]))).mean()
    agreement = gradient_agreement(first, second, mask, spacing)
    assert agreement == pytest.approx(expected, rel=1e-4 if kind is np.float32 else 1e-9)


def _clipped(image, mask):
    return np.clip(image.astype(float), *np.percentile(image[mask].astype(float), (0.5, 99.5)))


def _entropy(p):
    return -(p[p > 0] * np.log(p[p > 0])).sum()
