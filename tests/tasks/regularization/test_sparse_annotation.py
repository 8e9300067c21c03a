from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.models.contracts import Target
from synthct.tasks.models.description import TargetScaling


def kept(problem, shape, starts, strength=1.0, slices=1, **options):
    small = problem("sparse_annotation", **options)
    weight = torch.ones(shape)
    batch = replace(small.batch, source=torch.zeros(shape[0], slices, *shape[2:]), starts=starts)
    step = replace(small.step(batch=batch), strength=strength)
    wanted = Target(weight, weight, (3.0, 1.0, 1.0), TargetScaling())
    return small.member.regularizer.target(wanted, step).weight


def test_planes_are_those_of_the_scan_not_of_the_patch(problem):
    weight = kept(problem, (2, 1, 6, 2, 2), ((0, 0, 0), (3, 7, 7)), every=4, first=1)
    assert weight[0, 0, :, 0, 0].tolist() == [0, 1, 0, 0, 0, 1]  # planes 1 and 5
    assert weight[1, 0, :, 0, 0].tolist() == [0, 0, 1, 0, 0, 0]  # plane 5 is the third from 3 on


def test_planes_of_several_axes_all_count(problem):
    weight = kept(problem, (1, 1, 4, 4, 4), ((0, 0, 0),), every=4, axes=("z", "x"))
    assert weight.sum() == 16 + 16 - 4


def test_of_a_stack_of_slices_the_middle_one_is_weights_of(problem):
    starts = ((-1, 0, 0), (0, 0, 0), (3, 0, 0))  # of three slices: 0, 1, 4 in the middle
    weight = kept(problem, (3, 1, 2, 2), starts, slices=3, every=4)
    assert weight[:, 0, 0, 0].tolist() == [1, 0, 1]


def test_other_voxels_lose_as_much_as_the_strength_says(problem):
    weight = kept(problem, (1, 1, 4, 2, 2), ((0, 0, 0),), strength=0.75)
    assert weight[0, 0, :, 0, 0].tolist() == [1, 0.25, 0.25, 0.25]


@pytest.mark.parametrize("options", [{"every": 0}, {"first": 4}, {"axes": ("t",)}, {"axes": ()}])
def test_impossible_planes_are_refused(problem, options):
    with pytest.raises(UsageError, match="must be"):
        problem("sparse_annotation", **options)


@pytest.mark.claim
def test_a_dense_volume_is_learned_from_a_few_slices(problem):
    """The paper's claim: from a few annotated slices the network gives the whole volume.

    Between the annotated planes the target is nonsense, as is what nobody has looked at.
    """
    torch.manual_seed(0)
    model = nn.Conv3d(1, 1, 3, padding=1).double()
    small = problem("sparse_annotation", model=model, every=4)
    source = torch.randn(2, 1, 16, 8, 8, dtype=torch.float64)
    truth = 0.5 * source + 0.3 * source.roll(1, dims=3)
    truth[:, :, :, 0] = 0.5 * source[:, :, :, 0]
    target = -torch.ones_like(truth)
    target[:, :, ::4] = truth[:, :, ::4]
    batch = replace(small.batch, source=source, target=target, mask=torch.ones_like(target))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for number in range(300):
        optimizer.zero_grad()
        small.objective(small.step(number, batch)).backward()
        optimizer.step()
    assert (model(source) - truth).abs().mean() < 0.05
