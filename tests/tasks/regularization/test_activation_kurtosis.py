from __future__ import annotations

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization.base import Regularizer
from synthct.tasks.regularization.features.activation_kurtosis import ActivationKurtosis, kurtosis


def test_hand_value():
    values = torch.tensor([-2.0, 0.0, 0.0, 2.0], dtype=torch.float64)
    assert kurtosis(values).item() == pytest.approx(8 / 2**2, rel=1e-5)  # 32 / 4 over variance^2


@pytest.mark.parametrize(("draw", "expected"), [(torch.rand, 1.8), (torch.randn, 3.0)])
def test_known_distributions(draw, expected):
    values = draw(100_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert kurtosis(values).item() == pytest.approx(expected, rel=0.03)


def test_a_constant_feature_map_is_harmless():
    values = torch.full((8,), 3.0, requires_grad=True)
    kurtosis(values).backward()
    assert torch.equal(values.grad, torch.zeros(8))


def test_the_mean_is_over_the_layers(problem):
    small = problem("activation_kurtosis", layers=("0", "2"), every=1)
    batch = small.batch
    with torch.no_grad():
        first = small.model[0](batch.source)
        second = small.model[:3](batch.source)
    penalty = small.composition.evaluate(small.step()).terms["activation_kurtosis"]
    torch.testing.assert_close(penalty.detach(), (kurtosis(first) + kurtosis(second)) / 2)


def test_it_acts_at_every_kth_step_k_times_as_strongly(problem):
    every, always = problem("activation_kurtosis", every=3), problem("activation_kurtosis", every=1)
    term = lambda small, n: small.composition.evaluate(small.step(n)).terms.get(  # noqa: E731
        "activation_kurtosis"
    )
    assert term(every, 4) is None
    torch.testing.assert_close(term(every, 3), 3 * term(always, 3))


def test_layers_that_do_not_exist_are_reported(problem):
    small = problem("activation_kurtosis", layers=("8",))
    (message,) = small.member.regularizer.problems(small.model)
    assert "no layer is called '8'" in message


@pytest.mark.parametrize("options", [{"every": 0}, {"bits": 1}, {"bits": 17}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must be"):
        problem("activation_kurtosis", **options)


def test_hand_value_of_quantised_inputs_and_the_gradient_of_the_identity(problem):
    """Two bits of [0, 3]: levels 0, 1, 2, 3."""
    regularizer = problem("activation_kurtosis", bits=2).member.regularizer
    values = torch.tensor([0.0, 0.4, 0.6, 2.2, 3.0], requires_grad=True)
    quantised = regularizer.hidden("", values, None)
    assert quantised.tolist() == pytest.approx([0, 0, 1, 2, 3])
    quantised.sum().backward()
    assert torch.equal(values.grad, torch.ones(5))


def test_without_bits_no_layer_is_touched(problem):
    small = problem("activation_kurtosis")
    assert small.member.regularizer.hides(small.model) == ()
    assert problem("activation_kurtosis", bits=8).member.regularizer.hides(small.model) == ["2"]


def four_bit_error(problem, weight):
    """Relative error of four-bit features, of a network that starts with an outlier channel."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 8, 1), nn.SiLU(), nn.Conv2d(8, 1, 1)).double()
    with torch.no_grad():
        model[0].weight[0] *= 30
        model[2].weight[:, 0] /= 30
    small = problem("activation_kurtosis", weight=weight, model=model, every=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for number in range(200):
        optimizer.zero_grad()
        small.objective(small.step(number)).backward()
        optimizer.step()
    with torch.no_grad():
        features = model[:2](small.batch.source)
    step = (features.max() - features.min()) / 15
    ordinary = features[:, 1:]  # what the outlier takes the levels from
    quantised = ((ordinary - features.min()) / step).round() * step + features.min()
    return ((quantised - ordinary).norm() / ordinary.norm()).item()


def survives_four_bits(problem):
    return four_bit_error(problem, 0.1) < 0.5 * four_bit_error(problem, 0.0)


@pytest.mark.claim
def test_features_survive_four_bits(problem):
    """The paper's claim: without outlier channels, few bits do."""
    assert survives_four_bits(problem)


def test_without_the_penalty_the_property_fails(problem, monkeypatch):
    monkeypatch.setattr(ActivationKurtosis, "penalty", Regularizer.penalty)
    assert not survives_four_bits(problem)


def four_bit_output_error(problem, bits, seed):
    """Change of the output when features and weights have four bits, as a share of its length."""
    torch.manual_seed(seed)
    layers = (nn.Conv2d(2, 16, 1), nn.SiLU(), nn.Conv2d(16, 16, 1), nn.SiLU(), nn.Conv2d(16, 1, 1))
    model = nn.Sequential(*layers).double()
    with torch.no_grad():
        model[0].weight[0] *= 30
        model[2].weight[:, 0] /= 30
    small = problem("activation_kurtosis", weight=0.01, model=model, every=1, bits=bits)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for number in range(300):
        optimizer.zero_grad()
        small.objective(small.step(number)).backward()
        optimizer.step()
    four = ActivationKurtosis(bits=4)
    with torch.no_grad():
        exact = model(small.batch.source)
        x = small.batch.source
        for layer in model:
            if isinstance(layer, nn.Conv2d):
                layer.weight.copy_(four.hidden("", layer.weight, None))
                x = layer(x)
            else:
                x = four.hidden("", layer(x), None)
    return ((x - exact).norm() / exact.norm()).item()


@pytest.mark.claim
def test_quantised_inputs_make_four_bit_features_and_weights_cheaper_than_kurtosis_alone(problem):
    """The paper's other claim: both halves are needed for few bits of features and weights."""
    alone, both = (
        [four_bit_output_error(problem, bits, seed) for seed in range(2)] for bits in (0, 4)
    )
    assert sum(both) < 0.8 * sum(alone)
