"""Cone-beam scanners differ between patients as real ones do, and one answers bone by a line."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthct.data.phantom.cbct import path_lengths_mm, scan_of_lengths
from synthct.data.phantom.imager import (
    BONE_FULL_HU,
    Imager,
    effective_water_per_mm,
    line_integrals,
    materials,
    measured_intensity,
)  # fmt: skip
from synthct.data.phantom.patient import centred_grid
from synthct.data.phantom.scanners import BOUNDS, LOGARITHMIC, RANGES, draw_scanner
from synthct.data.tomography.cone_beam import ConeBeam, covering
from synthct.tasks.cohort.params import CohortParams
from synthct.tasks.cohort.run import protocol_of

ORBIT = ConeBeam((0.0,), (1, 5), (10.0, 10.0))
QUIET = {"scatter": 0.0, "photons": 1e9}


def integrals(imager, water_mm, bone_mm=0.0):
    lengths = torch.full((2, 1, 1, 5), float(water_mm))
    lengths[1] = float(bone_mm)
    return float(line_integrals(lengths, ORBIT, imager, np.random.default_rng(0))[0, 0, 2])


def test_without_corrections_the_line_integrals_are_the_measured_ones():
    """The demo's scans must not change with the scanners that are drawn for others."""
    lengths = torch.rand(2, 1, 1, 5) * torch.tensor([300.0, 40.0]).reshape(2, 1, 1, 1)
    imager = Imager(scatter=0.09, photons=1e4)
    plain = measured_intensity(lengths, ORBIT, imager, np.random.default_rng(1))
    found = line_integrals(lengths, ORBIT, imager, np.random.default_rng(1))
    torch.testing.assert_close(found, -torch.log(plain), rtol=0, atol=0)


@pytest.mark.parametrize("shift_kev", [0.0, 8.0])
def test_the_correction_for_water_makes_its_line_integrals_straight(shift_kev):
    """Without it a thick body looks less dense than a thin one: cupping."""
    hard = Imager(**QUIET, beam_shift_kev=shift_kev)
    straight = Imager(**QUIET, beam_shift_kev=shift_kev, water_precorrection=1.0)
    slopes = [integrals(straight, mm) / mm for mm in (50, 150, 300)]
    assert np.ptp(slopes) < 2e-5
    assert slopes[1] == pytest.approx(effective_water_per_mm(straight), rel=2e-3)
    assert integrals(hard, 50) / 50 > 1.02 * integrals(hard, 300) / 300


def test_a_harder_beam_has_the_mean_energy_asked_for():
    for shift in (-10.0, 0.0, 12.0):
        shares = np.asarray(Imager(**QUIET, beam_shift_kev=shift).weights())
        assert shares.sum() == pytest.approx(1)
        assert shares @ (40, 60, 80, 100) == pytest.approx(65.6 + shift, abs=0.1)


@pytest.mark.parametrize("contrast", [0.65, 0.73, 0.85])
def test_corrected_bone_answers_by_a_straight_line_of_the_slope_asked_for(contrast):
    """The digital heads overshot (1.06) where a real scanner shows 0.73 of the CT's contrast."""
    imager = Imager(
        **QUIET, water_precorrection=1.0, bone_precorrection=1.0, bone_contrast=contrast,
        bone_start_hu=50.0,
    )  # fmt: skip
    thick, shown = 20.0, []
    for hu in (300.0, 700.0, 1200.0, BONE_FULL_HU):
        water, bone = materials(np.float32([hu]), 50.0)[:, 0]
        behind = integrals(imager, 150.0 + thick * water, thick * bone)
        extra = (behind - integrals(imager, 150.0)) / thick
        shown.append((hu, 1000 * (extra / effective_water_per_mm(imager) - 1)))
    slopes = [(b - 50) / (hu - 50) for hu, b in shown]
    assert np.ptp(slopes) < 0.02
    assert np.mean(slopes) == pytest.approx(contrast, abs=0.03)


def disc():
    """CT numbers of a cylinder of water, of 110 mm diameter, on a small grid."""
    grid = centred_grid((16.0, 160.0, 160.0), (4.0, 4.0, 4.0))
    y, x = (np.arange(n) - (n - 1) / 2 for n in grid.shape[1:])
    inside = np.hypot(y[:, None], x) * 4 < 55
    return grid, np.broadcast_to(np.where(inside, 0, -1000), grid.shape).astype(np.float32)


@pytest.fixture(scope="module")
def projected():
    grid, hu = disc()
    geometry = covering(90, diameter_mm=160.0, height_mm=16.0, pixel_mm=4.0)
    return grid, geometry, path_lengths_mm(materials(hu), grid, geometry)


def scanned(projected, **options):
    grid, geometry, lengths = projected
    imager = Imager(**{**QUIET, "water_precorrection": 1.0, **options})
    return scan_of_lengths(lengths, grid, geometry, imager, np.random.default_rng(0)).array


def test_a_half_fan_shows_the_same_body_as_a_full_one(projected):
    full, half = scanned(projected), scanned(projected, half_fan_mm=20.0)
    inner = (2, slice(12, 28), slice(12, 28))
    assert abs(full[inner].mean()) < 25
    assert abs(half[inner].mean() - full[inner].mean()) < 25


def test_gain_offset_and_fill_value_are_shown(projected):
    plain = scanned(projected)
    shown = scanned(projected, gain=1.1, offset_hu=40.0, fill_hu=-2000.0)
    inner = (2, slice(12, 28), slice(12, 28))
    assert shown[inner].mean() == pytest.approx(1.1 * plain[inner].mean() + 40, abs=2)
    assert shown[:, 0, 0].tolist() == [-2000] * 4
    assert plain[:, 0, 0].tolist() == [-1024] * 4


def test_a_bow_tie_makes_the_rim_noisier_and_keeps_the_body(projected):
    flat, bow = scanned(projected), scanned(projected, bow_tie=2.5)
    assert abs(bow[2, 16:24, 16:24].mean() - flat[2, 16:24, 16:24].mean()) < 25
    y, x = np.mgrid[:40, :40] - 19.5
    rim = (np.hypot(y, x) * 4 > 35) & (np.hypot(y, x) * 4 < 50)
    noise = [
        (scanned(projected, photons=2e4, bow_tie=strength) - quiet)[:, rim].std()
        for strength, quiet in ((2.5, bow), (0.0, flat))
    ]
    assert noise[0] > 1.1 * noise[1]


def place(name, value):
    low, high = np.log(RANGES[name]) if name in LOGARITHMIC else RANGES[name]
    return ((np.log(value) if name in LOGARITHMIC else value) - low) / (high - low)


def test_scanners_lie_within_their_ranges_and_held_out_ones_clearly_beyond():
    for seed in range(20):
        inside = draw_scanner({}, np.random.default_rng(seed))
        assert all(0 <= place(name, value) <= 1 for name, value in inside.parameters.items())
        beyond = draw_scanner({}, np.random.default_rng(seed), outside=len(RANGES))
        places = {name: place(name, value) for name, value in beyond.parameters.items()}
        outside = {name for name, at in places.items() if at < -0.05 or at > 1.05}
        assert outside == set(RANGES)
        for name, value in beyond.parameters.items():
            assert BOUNDS[name][0] <= value <= BOUNDS[name][1]


def test_the_range_of_one_parameter_leaves_the_others_where_they_were():
    plain = draw_scanner({}, np.random.default_rng(4)).parameters
    other = draw_scanner({"scatter": (0.3, 0.4)}, np.random.default_rng(4)).parameters
    assert 0.3 <= other["scatter"] <= 0.4
    assert {name for name in plain if plain[name] != other[name]} == {"scatter"}


def test_wrong_ranges_do_not_pass_silently():
    with pytest.raises(ValueError, match="not 'scater'"):
        CohortParams(cbct_scanner={"scater": (0.0, 0.1)})
    with pytest.raises(ValueError, match=r"between 0 and 0\.5"):
        CohortParams(cbct_scanner={"scatter": (0.2, 0.1)})


def test_the_cohort_hands_the_ranges_on_and_only_when_asked():
    assert "scanner" not in protocol_of(CohortParams(), "head-neck")
    asked = CohortParams(cbct_scanner={"scatter": (0.0, 0.1)})
    assert protocol_of(asked, "head-neck")["scanner"] == {"scatter": [0.0, 0.1]}
