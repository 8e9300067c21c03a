from __future__ import annotations

import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.models.networks.selective_scan import MambaBlock, linear_recurrence


@pytest.mark.parametrize("length", [1, 2, 7, 64, 100])
def test_doubling_solves_the_recurrence_that_a_loop_solves(length):
    rng = torch.Generator().manual_seed(length)
    decay, inputs = torch.rand((2, 2, 3, length), generator=rng, dtype=torch.float64)
    state, expected = torch.zeros(2, 3, dtype=torch.float64), []
    for place in range(length):
        state = decay[..., place] * state + inputs[..., place]
        expected.append(state)
    torch.testing.assert_close(linear_recurrence(decay, inputs), torch.stack(expected, dim=-1))


def test_the_recurrence_has_the_right_gradient():
    rng = torch.Generator().manual_seed(0)
    decay, inputs = torch.rand((2, 2, 5), generator=rng, dtype=torch.float64)
    arguments = decay.requires_grad_(), inputs.requires_grad_()
    assert torch.autograd.gradcheck(linear_recurrence, arguments)


def test_a_token_depends_on_all_earlier_tokens_and_on_no_later_one():
    torch.manual_seed(0)
    block = MambaBlock(8, 4, 2).double()
    tokens = torch.randn((1, 12, 8), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(block(tokens)[0, 6].sum(), tokens)
    reach = slope[0].abs().sum(dim=1)
    assert (reach[:7] > 0).all()
    assert (reach[7:] == 0).all()


def test_recomputing_the_scan_in_training_changes_no_gradient():
    torch.manual_seed(0)
    block = MambaBlock(8, 4, 1).double()
    tokens = torch.randn((2, 9, 8), dtype=torch.float64)
    slopes = []
    for training in (True, False):
        block.train(training).zero_grad()
        block(tokens).square().sum().backward()
        slopes.append([p.grad.clone() for p in block.parameters()])
    assert all(map(torch.equal, *slopes))


def reach_of_one_voxel(**options):
    """Which inputs change the output in the middle of a slice, 40 voxels from its edges.

    The convolutions reach less than 26.
    """
    torch.manual_seed(0)
    options = {"slices": 1, "width": 8, "states": 2, "norm": "batch", **options}
    model = NETWORKS.build("me_unet", options).build().double().eval()
    x = torch.randn((1, 1, 80, 80), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(model(x)[0, 0, 40, 40], x)
    return slope[0, 0].abs() > 0


def test_the_scans_see_what_no_convolution_reaches():
    there = reach_of_one_voxel()
    assert there[0, 0]
    assert not there[-1, -1]  # far behind in the order of reading
    assert reach_of_one_voxel(both_ways=True)[-1, -1]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"slices": 2}, "odd"), ({"states": 0}, "at least 1"), ({"finest": 2}, "must be in"),
     ({"levels": 1}, "at least 2"),     ({"width": 12}, "multiple of 8")],
)  # fmt: skip
def test_wrong_options_do_not_pass_silently(options, message):
    with pytest.raises(UsageError, match=message):
        NETWORKS.build("me_unet", options)
