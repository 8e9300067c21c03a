"""Every prior on images against its own proximal map: a solver that uses both must descend."""

from __future__ import annotations

import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer

SPACING = (3.0, 1.0, 1.0)
PRIORS = [n for n, cls in REGULARIZERS.items() if cls.image is not Regularizer.image]
WITH_PROX = [n for n in PRIORS if REGULARIZERS.get(n).prox is not Regularizer.prox]


def test_at_least_one_prior_is_tested():
    assert WITH_PROX


@pytest.mark.parametrize("name", WITH_PROX)
@pytest.mark.parametrize("shape", [(1, 1, 8, 16), (2, 1, 4, 8, 8)])
def test_a_proximal_map_of_another_scale_than_its_prior_is_noticed(name, shape):
    iterative = "iterations" in REGULARIZERS.get(name).__dataclass_fields__
    prior, step = REGULARIZERS.build(name, {"iterations": 3000} if iterative else {}), 0.3
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=rng).double()

    def cost(v):
        return (v - x).square().sum() / 2 + step * prior.image(v, SPACING)

    best = prior.prox(x, SPACING, step)
    assert not torch.equal(best, x)
    for size in (1e-1, 1e-3):
        for _ in range(20):
            elsewhere = best + size * torch.randn(shape, generator=rng).double()
            assert cost(best) < cost(elsewhere)
    # Along the line through x: a threshold that is too small or too large is noticed too.
    for share in (0.9, 0.99, 1.01, 1.1):
        assert cost(best) < cost(x + share * (best - x))


@pytest.mark.parametrize("name", sorted(set(REGULARIZERS.names()) - set(PRIORS)))
def test_a_proximal_map_without_a_prior_is_noticed(name):
    assert REGULARIZERS.get(name).prox is Regularizer.prox


def test_a_prior_without_a_proximal_map_does_not_pass_for_the_identity():
    class Roughness(Regularizer):
        def image(self, x, spacing_mm):
            return x.diff(dim=-1).square().sum()

    with pytest.raises(UsageError, match="no proximal map"):
        Roughness().prox(torch.zeros(1, 1, 4, 4), SPACING, 1.0)
