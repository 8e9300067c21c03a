from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from synthct.data.errors import UsageError
from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Target
from synthct.tasks.models.description import TargetScaling


def lost(p, t, weight=None, **options):
    weight = torch.ones_like(t) if weight is None else weight
    return LOSSES.build("ssim", options)(p, Target(t, weight, (3.0, 1.0, 1.0), TargetScaling()))


def test_two_flat_images_differ_by_their_luminance_alone():
    p, t = torch.full((1, 1, 9, 9), 0.5).double(), torch.full((1, 1, 9, 9), -0.25).double()
    c1 = 0.02**2
    expected = 1 - (2 * 0.5 * -0.25 + c1) / (0.25 + 0.0625 + c1)
    assert lost(p, t).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", [(24, 20), (9, 12, 11)])
def test_it_agrees_with_scikit_image_away_from_the_border(shape):
    """To 1e-9 where no window reaches over the border, with population variances."""
    rng = np.random.default_rng(3)
    p, t = rng.uniform(-1, 1, (2, *shape))
    _, full = structural_similarity(
        p, t, data_range=2.0, full=True, win_size=7, use_sample_covariance=False
    )
    inner = tuple(slice(3, -3) for _ in shape)
    weight = torch.zeros(1, 1, *shape, dtype=torch.float64)
    weight[(0, 0, *inner)] = 1
    # Outside the weight the prediction counts as right: there it must be so for both.
    inside = weight[0, 0].numpy() > 0
    p = np.where(inside, p, t)
    _, full = structural_similarity(
        p, t, data_range=2.0, full=True, win_size=7, use_sample_covariance=False
    )
    ours = lost(torch.from_numpy(p)[None, None], torch.from_numpy(t)[None, None], weight).item()
    assert ours == pytest.approx(1 - full[inner].mean(), abs=1e-9)


@pytest.mark.parametrize("options", [{"window": 4}, {"window": 1}, {"k1": 0.0}])
def test_impossible_windows_are_refused(options):
    with pytest.raises(UsageError, match="must be"):
        LOSSES.build("ssim", options)
