from __future__ import annotations

import pytest
import torch
from torch import nn


def test_hand_value(problem):
    layer = nn.Linear(2, 2, bias=False).double()
    layer.weight.data = torch.tensor([[3.0, 4.0], [0.0, 0.5]], dtype=torch.float64)
    small = problem("norm_loss", model=nn.Sequential(layer))
    penalty = small.member.regularizer.penalty(small.step())
    assert penalty.item() == pytest.approx(4.0**2 + 0.5**2)  # lengths 5 and 0.5


def test_a_convolution_filter_is_one_output_channel(problem):
    layer = nn.Conv2d(3, 2, 3, bias=False).double()
    layer.weight.data.fill_(1.0)  # 27 ones: length sqrt(27)
    small = problem("norm_loss", model=nn.Sequential(layer))
    penalty = small.member.regularizer.penalty(small.step())
    assert penalty.item() == pytest.approx(2 * (27**0.5 - 1) ** 2)


def test_only_the_named_layers_are_pulled(problem):
    small = problem("norm_loss", layers=("3",))
    lengths = small.model[3].weight.flatten(1).norm(dim=1)
    penalty = small.member.regularizer.penalty(small.step())
    torch.testing.assert_close(penalty, ((1 - lengths) ** 2).sum())


def test_a_layer_that_does_not_exist_is_reported_with_those_that_do(problem):
    small = problem("norm_loss", layers=("4",))
    (message,) = small.member.regularizer.problems(small.model)
    assert "no layer is called '4'" in message
    assert "layers: 0, 1, 2, 3" in message


def test_a_layer_without_filters_is_reported(problem):
    small = problem("norm_loss", layers=("2",))
    assert small.member.regularizer.problems(small.model) == [
        "layer '2' is neither a convolution nor a linear layer"
    ]


def trained_lengths(problem, weight):
    small = problem("norm_loss", weight=weight)
    with torch.no_grad():
        small.model[0].weight[0] *= 6
        small.model[0].weight[1] *= 0.05
    optimizer = torch.optim.SGD(small.model.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        small.objective().backward()
        optimizer.step()
    return small.model[0].weight.detach().flatten(1).norm(dim=1)


@pytest.mark.claim
def test_long_and_short_filters_are_steered_to_length_one(problem):
    """The paper's claim: the weight matrix is smoothly steered towards the oblique manifold."""
    assert (trained_lengths(problem, 1.0) - 1).abs().max() < 0.1
    assert (trained_lengths(problem, 0.0) - 1).abs().max() > 0.5
