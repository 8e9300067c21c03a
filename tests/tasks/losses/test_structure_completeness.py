from __future__ import annotations

import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.losses import LOSSES
from synthct.tasks.losses.structure_completeness import soft_skeleton
from synthct.tasks.models.contracts import Target
from synthct.tasks.models.description import TargetScaling

BONE = {"windows_hu": ((200.0, 4000.0),), "softness_hu": 1.0}
"""So hard a step that memberships are 0 or 1."""


def lost(p_hu, t_hu, **options):
    scaling = TargetScaling(low_hu=-1000.0, high_hu=1000.0)
    p, t = p_hu[None, None].double() / 1000, t_hu[None, None].double() / 1000
    wanted = Target(t, torch.ones_like(t), (3.0, 1.0, 1.0), scaling)
    return LOSSES.build("structure_completeness", {**BONE, **options})(p, wanted).item()


def plate(shape=(12, 12), low=0.0, high=700.0, thickness=1):
    image = torch.full(shape, low)
    image[5 : 5 + thickness, 2:10] = high
    return image


def test_a_structure_that_is_gone_or_invented_costs_half_of_all():
    assert lost(torch.zeros(12, 12), plate(), skeleton=0.0) == pytest.approx(0.5, abs=1e-6)
    assert lost(plate(), torch.zeros(12, 12), skeleton=0.0) == pytest.approx(0.5, abs=1e-6)


def test_half_of_a_structure_is_missing_by_a_half():
    predicted = plate()
    predicted[:, 6:] = 0
    assert lost(predicted, plate(), skeleton=0.0) == pytest.approx(0.25, abs=1e-6)


def test_the_skeleton_of_a_bar_is_its_centre_line():
    bar = plate(thickness=3)[None, None].double() / 700
    ridge = soft_skeleton(bar, 3)[0, 0]
    assert ridge[6, 3:9].min() == 1
    assert ridge[5].sum() + ridge[7].sum() <= 4  # at most the corners


@pytest.mark.parametrize("shape", [(12, 12), (3, 12, 12)])
def test_a_lost_thin_wall_weighs_by_its_centre_line_not_by_its_voxels(shape):
    """A big block stays, a wall of one voxel goes: a tenth of the voxels, far more of the lines."""
    truth = torch.zeros(shape)
    truth[..., 1:8, 1:9] = 700
    truth[..., 10, 1:9] = 700
    predicted = truth.clone()
    predicted[..., 10, :] = 0
    by_volume, by_line = (lost(predicted, truth, skeleton=part) for part in (0.0, 1.0))
    assert by_line > 2 * by_volume > 0


def test_a_structure_that_is_nowhere_adds_nothing():
    assert lost(torch.zeros(12, 12), torch.full((12, 12), 50.0)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "options",
    [{"windows_hu": ()}, {"windows_hu": ((5.0, 1.0),)}, {"softness_hu": 0.0}, {"skeleton": 1.5},
     {"thinning": 0}],
)  # fmt: skip
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError, match="must be"):
        LOSSES.build("structure_completeness", options)
