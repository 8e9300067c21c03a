from __future__ import annotations

import numpy as np
import pytest

from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.models.description import SourceScaling
from synthct.tasks.prediction.domain import Domain, TrainedBody, fingerprint, warning_of
from synthct.tasks.prediction.prepare import prepare
from tests.tasks.prediction.conftest import small_patient

ZSCORE = SourceScaling()


def seen(volume, model):
    prepared = prepare(volume, None, model)
    return fingerprint(prepared.source, prepared.mask, model.source_scaling)


@pytest.fixture
def domain(model):
    base = small_patient()
    rng = np.random.default_rng(0)
    cases = [
        base.with_array((base.array * gain + rng.normal(0, 2, base.grid.shape)).astype(np.float32))
        for gain in (0.7, 1.0, 1.4)
    ]
    return Domain.of([seen(case, model) for case in cases])


def test_a_patient_like_those_of_training_is_not_remarked_whatever_the_scanners_gain(domain, model):
    base = small_patient()
    assert domain.unlike(seen(base.with_array(base.array * np.float32(3.3)), model)) == {}


@pytest.mark.parametrize("harm", ["other contrast", "noisy", "blurred", "metal"])
def test_an_image_that_training_never_saw_is_remarked(domain, model, harm):
    base = small_patient()
    body = base.array > 100
    array = base.array.copy()
    if harm == "other contrast":
        array[body] = 100 + 300 * (array[body] / 380) ** 12
    elif harm == "noisy":
        array = array + np.random.default_rng(1).normal(0, 25, array.shape).astype(np.float32)
    elif harm == "blurred":
        array[body] = array[body].mean() + 0.5 * np.random.default_rng(2).normal(size=body.sum())
    else:
        array[5:7, 20:24, 15:22] = 9000
    unlike = domain.unlike(seen(base.with_array(array.astype(np.float32)), model))
    assert unlike
    assert "unlike the 3" in warning_of(unlike, domain.cases)


def test_quantiles_noise_and_section_have_their_closed_form(scan):
    source, mask = scan
    noise = np.random.default_rng(3).normal(0, 1, source.grid.shape)
    white = source.with_array((50 + 7 * noise).astype(np.float32))
    got = fingerprint(white, mask, ZSCORE)
    assert got["intensity:q50"] == pytest.approx(0, abs=0.05)
    assert got["intensity:q98"] == pytest.approx(2.054, abs=0.15)
    assert got["noise"] == pytest.approx(1, abs=0.05)  # white noise of one standard deviation
    assert got["edges"] == pytest.approx(2 / np.pi**0.5, abs=0.05)  # mean |difference| of two
    area_mm2 = 43 * 33 * 1.0 * 1.0
    assert got["section_cm2"] == pytest.approx(area_mm2 / 100)


def test_the_ranges_hold_every_case_and_name_none(domain):
    text = domain.model_dump_json()
    assert domain.cases == 3
    assert all(each.low <= each.high for each in domain.features.values())
    assert "P1" not in text


def test_how_far_beyond_is_counted_in_widths_of_the_trained_range():
    domain = Domain.of([{"intensity:q50": 0.0}, {"intensity:q50": 1.0}])
    assert domain.unlike({"intensity:q50": 1.4}) == {}
    assert domain.unlike({"intensity:q50": -2.0})["intensity:q50"]["beyond"] == 2.0


def test_modality_of_the_scan_is_not_part_of_the_fingerprint(scan):
    source, mask = scan
    as_cbct = source.with_array(source.array, Modality.CBCT)
    assert fingerprint(as_cbct, mask, ZSCORE) == fingerprint(source, mask, ZSCORE)


def limb(fat, gain=1.0, seed=0, view=None):
    """Ten slices of a limb on T1, 2 mm: muscle, a ring of fat, marrow; ``view`` is the half-width
    of the field of view [voxels]."""
    y, x = np.meshgrid(*[np.arange(-40, 41)] * 2, indexing="ij")
    radius = np.hypot(y, x)
    plane = np.select([radius < 7, radius < 30 - fat, radius < 30], [700.0, 320.0, 990.0], 15.0)
    inside = radius < 30
    if view is not None:
        seen = (np.abs(y) <= view) & (np.abs(x) <= view)
        rows = slice(40 - view, 41 + view)
        plane, inside = plane[rows, rows], (inside & seen)[rows, rows]
    array = np.repeat(plane[None], 10, axis=0)
    array = gain * (array + np.random.default_rng(seed).normal(0, 12, array.shape))
    grid = Grid(array.shape, (4.0, 2.0, 2.0))
    body = np.repeat(inside[None].astype(np.uint8), 10, axis=0)
    return Volume(array.astype(np.float32), grid, Modality.MR), Volume(body, grid, Modality.MASK)


FAT_PEAK = SourceScaling(kind="fat_peak")


@pytest.fixture
def limbs():
    scans = [limb(fat, gain, seed) for fat, gain, seed in ((7, 1.0, 1), (8, 1.4, 2), (9, 0.8, 3))]
    reference = TrainedBody.of(scans, FAT_PEAK)
    return Domain.of([fingerprint(*scan, FAT_PEAK, reference) for scan in scans], reference)


def unlike(domain, scan, *, cut):
    return domain.unlike(fingerprint(*scan, FAT_PEAK, domain.reference), cut=cut)


def test_a_truncated_field_of_view_makes_a_scan_unlike(limbs):
    truncated = limb(8, seed=5, view=19)
    assert unlike(limbs, truncated, cut=False)  # what whole laws say: there is little fat
    assert unlike(limbs, truncated, cut=True) == {}
    assert unlike(limbs, limb(8, seed=5), cut=False) == {}


def test_a_truncated_scan_of_another_contrast_is_not_remarked(limbs):
    source, mask = limb(8, seed=5, view=19)
    array = source.array
    water = source.with_array(np.where(array > 850, array, 0.35 * array).astype(np.float32))
    found = unlike(limbs, (water, mask), cut=True)
    assert {"shared:moved", "shared:alone"} & set(found)
    assert "tissue shared with training" in warning_of(found, limbs.cases)


def test_a_release_of_an_older_version_judges_a_cut_scan_otherwise_than_before(limbs):
    old = limbs.model_copy(update={"reference": None})
    seen = {**fingerprint(*limb(8, view=19), FAT_PEAK), "shared:moved": 0.0, "shared:alone": 0.0}
    assert set(old.unlike(seen, cut=True)) == set(old.unlike(seen, cut=False)) != set()


def test_more_body_than_the_reference_is_left_alone_and_less_is_not(limbs):
    reference = limbs.reference
    law = np.asarray(reference.law)
    assert reference.shared(law, reference.section_cm2)["shared:alone"] == 0
    assert reference.shared(law, reference.section_cm2 / 2)["shared:alone"] == 0
    assert reference.shared(law, 2 * reference.section_cm2)["shared:alone"] == pytest.approx(0.5)


def test_a_release_whose_law_falls_is_opened_and_breaks_only_when_it_harmonises():
    TrainedBody(law=tuple(range(100)), section_cm2=300.0)
    with pytest.raises(ValueError, match="quantiles do not fall"):
        TrainedBody(law=tuple(range(100, 0, -1)), section_cm2=300.0)
