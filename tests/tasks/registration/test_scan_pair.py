import numpy as np
import pytest

from synthct.data.errors import DataError
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.registration.scan_pair import ScanPair, whole_field

GRID = Grid((4, 5, 6), (3.0, 1.0, 1.0))


def scan(array=None, grid=GRID):
    values = np.random.default_rng(0).normal(size=GRID.shape) if array is None else array
    return Volume(values, grid, Modality.MR)


def code_of(fixed=None, moving=None, fixed_body=None, moving_body=None):
    fixed, moving = fixed or scan(), moving or scan()
    with pytest.raises(DataError) as caught:
        ScanPair(
            fixed, moving, fixed_body or whole_field(fixed), moving_body or whole_field(moving)
        )
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_what_cannot_be_registered_is_named(role):
    poisoned = scan().array.copy()
    poisoned[1, 2, 3] = np.nan
    empty = Volume(np.zeros(GRID.shape, np.uint8), GRID, Modality.MASK)
    assert code_of(**{role: scan(poisoned)})[0] == "scan-nan"
    assert code_of(**{role: scan(np.full(GRID.shape, 3.0))})[0] == "scan-constant"
    assert code_of(**{f"{role}_body": empty})[0] == "mask-empty"
    assert role in code_of(**{f"{role}_body": empty})[1]


def test_a_mask_of_another_scan_is_refused():
    elsewhere = Grid(GRID.shape, GRID.spacing_mm, (0.0, 30.0, 0.0))
    mask = Volume(np.ones(GRID.shape, np.uint8), elsewhere, Modality.MASK)
    assert code_of(fixed_body=mask)[0] == "mask-elsewhere"


def test_a_header_rounded_to_six_digits_is_the_same_place():
    rounded = Grid(GRID.shape, (3.000001, 1.0, 1.0), (1e-5, 0.0, 0.0))
    mask = Volume(np.ones(GRID.shape, np.uint8), rounded, Modality.MASK)
    ScanPair(scan(), scan(), mask, whole_field(scan()))
