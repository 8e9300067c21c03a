"""Input that should not be registered ends with an error that names the rule."""

import dataclasses

import numpy as np
import pytest

from synthct.data.errors import DataError
from synthct.data.volume import Grid, Volume
from synthct.tasks.registration.plausible import require_plausible
from synthct.tasks.registration.scan_pair import ScanPair


def scaled(volume, factor):
    grid = volume.grid
    spacing = tuple(step * factor for step in grid.spacing_mm)
    origin = tuple(at * factor for at in grid.origin_mm)
    return Volume(volume.array, Grid(grid.shape, spacing, origin), volume.modality)


def pair_of(known, **changes):
    names = ("fixed", "moving", "fixed_body", "moving_body")
    return ScanPair(**({name: getattr(known, name) for name in names} | changes))


def code_of(pair):
    with pytest.raises(DataError) as caught:
        require_plausible(pair)
    return caught.value.code


@pytest.mark.parametrize("factor", [1e-3, 0.1, 10.0, 1e3])
@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_a_scan_in_metres_centimetres_or_micrometres_is_refused(known, side, factor):
    changes = {name: scaled(getattr(known, name), factor) for name in (side, f"{side}_body")}
    assert code_of(pair_of(known, **changes)) == "units"


def test_both_scans_in_metres_are_refused_too(known):
    names = ("fixed", "moving", "fixed_body", "moving_body")
    pair = ScanPair(**{name: scaled(getattr(known, name), 1e-3) for name in names})
    assert code_of(pair) == "units"


def test_a_crop_of_a_large_scan_is_no_fault_of_units(known):
    moving = known.moving.crop((5, 12, 12), (25, 36, 36))
    body = known.moving_body.crop((5, 12, 12), (25, 36, 36))
    require_plausible(pair_of(known, moving=moving, moving_body=body))


@pytest.mark.parametrize(
    "values",
    [
        lambda ct: np.abs(ct) + 1,  # an MR that calls itself a CT: nothing below fat
        lambda ct: ct + 1024,  # the rescale intercept was lost
        lambda ct: np.where(ct > -500, 1500 + ct // 2, -1000),  # scaled to another unit
    ],
)
def test_a_ct_without_hounsfield_units_is_refused(known, values):
    moving = known.moving.with_array(values(known.moving.array.astype(np.int32)))
    assert code_of(pair_of(known, moving=moving)) == "not-hounsfield"


def test_the_fault_does_not_fall_on_an_mr(known):
    fixed = known.fixed.with_array(known.fixed.array + 5000.0)
    require_plausible(pair_of(known, fixed=fixed))


def test_a_fault_is_one_line_with_a_remedy(known):
    with pytest.raises(DataError) as caught:
        require_plausible(dataclasses.replace(pair_of(known), moving=scaled(known.moving, 1e-3),
                          moving_body=scaled(known.moving_body, 1e-3)))  # fmt: skip
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
