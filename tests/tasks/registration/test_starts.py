import numpy as np
import pytest

from synthct.data.volume import Grid
from synthct.tasks.registration.rigid.starts import Overview, ranked_starts, shift_transform
from synthct.tasks.registration.scan_pair import ScanPair


def carried(volume, shift_mm):
    origin = tuple(np.add(volume.grid.origin_mm, shift_mm))
    return type(volume)(
        volume.array, Grid(volume.grid.shape, volume.grid.spacing_mm, origin), volume.modality
    )


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (80.0, -150.0, 40.0)])
def test_a_scanner_frame_far_away_is_found(make, shift):
    known = make(mean_mm=0.0, shift_mm=(0.0, 0.0, 0.0))
    pair = ScanPair(
        known.fixed,
        carried(known.moving, shift),
        known.fixed_body,
        carried(known.moving_body, shift),
    )
    np.testing.assert_allclose(ranked_starts(Overview.of(pair))[0], shift, atol=4.0)


def test_bodies_that_do_not_meet_tell_nothing(make):
    known = make(mean_mm=0.0, shift_mm=(0.0, 0.0, 0.0))
    pair = ScanPair(known.fixed, known.moving, known.fixed_body, known.moving_body)
    view = Overview.of(pair)
    assert view.information(shift_transform((0.0, 0.0, 500.0))) == 0.0
    assert view.information(shift_transform((0.0, 0.0, 0.0))) > 1.0
