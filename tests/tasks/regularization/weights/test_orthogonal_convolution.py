from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional


def layer(inputs, outputs, size=3, stride=1, groups=1, dims=2, seed=0):
    torch.manual_seed(seed)
    kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
    return kind(inputs, outputs, size, stride, bias=False, groups=groups).double()


def value(problem, module, **options):
    small = problem("orthogonal_convolution", model=nn.Sequential(module), **options)
    return small.member.regularizer.penalty(small.step())


def operator(module, side):
    """Matrix of the convolution on periodic images of ``side`` output voxels an axis."""
    dims, stride, size = len(module.kernel_size), module.stride[0], module.kernel_size[0]
    shape = (module.in_channels, *[side * stride] * dims)
    count = int(torch.tensor(shape).prod())
    images = torch.eye(count, dtype=torch.float64).view(count, *shape)
    around = [size // 2, (size - 1) // 2] * dims
    padded = functional.pad(images, around, mode="circular")
    with torch.no_grad():
        return module(padded).flatten(1).T


def test_hand_value_of_one_filter_in_one_dimension(problem):
    module = layer(1, 1, size=2, dims=1)
    module.weight.data = torch.tensor([[[1.0, 1.0]]], dtype=torch.float64)
    # With itself: 1, 2, 1. An orthogonal filter would give 0, 1, 0.
    assert value(problem, module).item() == pytest.approx(1 + 1 + 1)


def test_hand_value_of_a_shift_is_zero(problem):
    module = layer(1, 1)
    module.weight.data.zero_()
    module.weight.data[0, 0, 0, 2] = 1.0
    assert value(problem, module).item() == 0.0


@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "stride", "dims"),
    [(3, 2, 3, 1, 2), (2, 3, 3, 1, 2), (2, 3, 3, 2, 2), (1, 6, 3, 2, 2), (2, 3, 3, 1, 1),
     (2, 1, 3, 2, 3)],
)  # fmt: skip
def test_it_is_the_operators_distance_from_orthogonality(
    problem, inputs, outputs, size, stride, dims
):
    """The paper's theorem: voxels times the penalty is the squared Frobenius distance."""
    module = layer(inputs, outputs, size, stride, dims=dims)
    side = 6 if dims < 3 else 5
    matrix = operator(module, side)
    gram = matrix @ matrix.T if outputs <= inputs * stride**dims else matrix.T @ matrix
    distance = ((gram - torch.eye(len(gram), dtype=gram.dtype)) ** 2).sum()
    assert value(problem, module).item() * side**dims == pytest.approx(distance.item())


def test_a_kernel_in_groups_is_as_many_kernels(problem):
    both = layer(4, 4, groups=2)
    parts = [layer(2, 2), layer(2, 2)]
    for part, weight in zip(parts, both.weight.chunk(2), strict=True):
        part.weight.data = weight.detach()
    torch.testing.assert_close(value(problem, both), sum(value(problem, p) for p in parts))


def test_shapes_that_cannot_be_orthogonal_are_left_alone_or_reported(problem):
    model = nn.Sequential(layer(2, 4, size=1, stride=2), layer(4, 4))
    small = problem("orthogonal_convolution", model=model)
    torch.testing.assert_close(
        small.member.regularizer.penalty(small.step()), value(problem, model[1])
    )
    named = problem("orthogonal_convolution", model=model, layers=("0",))
    (message,) = named.member.regularizer.problems(model)
    assert message == "layer '0' cannot become orthogonal: kernel (4, 2, 1, 1) at stride (2, 2)"


def test_layers_that_are_no_convolutions_are_reported(problem):
    small = problem("orthogonal_convolution", layers=("1",))
    assert small.member.regularizer.problems(small.model) == ["layer '1' is not a convolution"]


def test_acting_every_third_step_is_three_times_as_strong(problem):
    module = layer(2, 2)
    torch.testing.assert_close(value(problem, module, every=3), 3 * value(problem, module))


def check_convolutions_become_isometric(problem, descend, stride, outputs):
    module = layer(2, outputs, stride=stride)
    small = problem("orthogonal_convolution", model=nn.Sequential(module))
    descend(small, steps=250, learning_rate=0.05, data=False)
    values = torch.linalg.svdvals(operator(module, 4))
    assert values.min().item() == pytest.approx(1.0, abs=0.05)
    assert values.max().item() == pytest.approx(1.0, abs=0.05)


@pytest.mark.claim
@pytest.mark.parametrize(("stride", "outputs"), [(1, 1), (1, 4), (2, 3)])
def test_every_image_keeps_its_length(problem, descend, fails_without, stride, outputs):
    """The paper's claim: penalised convolutions are isometric, or their adjoints are."""
    arguments = problem, descend, stride, outputs
    check_convolutions_become_isometric(*arguments)
    fails_without("orthogonal_convolution", check_convolutions_become_isometric, *arguments)
