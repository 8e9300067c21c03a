"""Other options than the defaults, at changed weights: derivatives and memories."""

from __future__ import annotations

import pytest
import torch

VARIANTS = [
    ("spectral", {"exponent": 2}),
    ("spectral", {"layers": ["1", "3"], "every": 2}),
    ("wasserstein_to_init", {}),
    ("group_orthogonality", {"groups": 3, "least": 1, "members": "spread"}),
    ("hyperspherical_energy", {"power": 0, "half_space": True}),
    ("hyperspherical_energy", {"power": 1, "distance": "angle"}),
    ("orthogonal_convolution", {"layers": ["0"]}),
    ("gram_lipschitz", {"iterations": 2, "oversampling": 2, "threshold": 0.5}),
    ("orthonormal_filters", {"modulation": False}),
    ("generalized_gaussian", {"shape": None}),
    ("generalized_gaussian", {"shape": 0.5}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_the_slope_is_the_derivative(name, options, problem):
    small = problem(name, **options)
    small.composition.begin(small.step())
    parameters = list(small.model.parameters())
    rng = torch.Generator().manual_seed(5)
    draw = lambda p: torch.randn(p.shape, generator=rng, dtype=p.dtype)  # noqa: E731
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.3 * draw(parameter))
    step = small.step().seen_by(name, 1.0, small.member.memory)
    value = small.member.regularizer.penalty(step)
    slopes = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
    along = [draw(p) for p in parameters]
    predicted = sum((s * d).sum().item() for s, d in zip(slopes, along, strict=True))
    ends = []
    for reach in (1e-6, -2e-6):
        with torch.no_grad():
            for parameter, direction in zip(parameters, along, strict=True):
                parameter.add_(reach * direction)
        ends.append(small.member.regularizer.penalty(step).item())
    assert predicted != 0
    assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(predicted, rel=1e-5)


@pytest.mark.parametrize("name", sorted({name for name, _ in VARIANTS}))
def test_a_resumed_run_gives_the_same_result(name, problem, descend):
    whole, first, second = problem(name), problem(name), problem(name)
    for small in (whole, first):
        descend(small, steps=3, learning_rate=0.01)
    second.model.load_state_dict(first.model.state_dict())
    second.composition.restore(first.composition.state())
    for small in (whole, second):
        small.one_step(number=3)
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
