from __future__ import annotations

import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.models.networks import NETWORKS


def test_it_has_the_published_size():
    """19,069,955 in the paper, with three channels in and three out; here one and one."""
    with torch.device("meta"):
        model = NETWORKS.build("unet_3d", {}).build()
    weights_in, head = 2 * 32 * 27, 2 * (64 + 1)
    counted = {
        name: p.numel()
        for name, p in model.named_parameters()
        if p.ndim > 1 or name.endswith("conv.bias") or name.startswith("head")
    }
    assert sum(counted.values()) == 19_069_955 - weights_in - head


def test_two_levels_fewer_make_the_divisor_four_times_smaller():
    deep, flat = (NETWORKS.build("unet_3d", {"width": 8, "levels": n}) for n in (4, 2))
    assert (deep.divisor, flat.divisor) == (8, 2)
    assert flat.build()(torch.randn(1, 1, 4, 6, 8)).shape == (1, 1, 4, 6, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"width": 12}, "multiple of 8, got 12"), ({"levels": 1}, "at least 2")],
)
def test_wrong_options_do_not_pass_silently(options, message):
    with pytest.raises(UsageError, match=message):
        NETWORKS.build("unet_3d", options)
