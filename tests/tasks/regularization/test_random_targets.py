from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError


def drawn(problem, starts, cases, shape=(2, 1, 8, 8), slices=1, **options):
    small = problem("random_targets", **options)
    target = torch.zeros(shape, dtype=torch.float64)
    source = torch.zeros(shape[0], slices, *shape[2:])
    batch = replace(small.batch, source=source, target=target, starts=starts, cases=cases)
    return small.composition.perturb(small.step(batch=batch)).batch.target


def test_every_patch_that_shows_a_cell_asks_for_the_same(problem):
    a, b = drawn(problem, ((3, 0, 0), (3, 4, 2)), ("a", "a"))
    assert torch.equal(a[0, 4:, 2:], b[0, :4, :6])
    assert a.unique().numel() == 4  # 8 x 8 voxels are four cells


def test_the_middle_one_of_several_slices_is_meant(problem):
    flat = drawn(problem, ((6, 0, 0), (7, 0, 0)), ("a", "a"), slices=5)
    deep = drawn(problem, ((8, 0, 0),), ("a",), shape=(1, 1, 4, 8, 8))
    assert torch.equal(flat[0, 0], deep[0, 0, 0])
    assert torch.equal(flat[1, 0], deep[0, 0, 1])


def test_cases_have_other_numbers_and_they_are_uniform(problem):
    a, b = drawn(problem, ((0, 0, 0),) * 2, ("a", "b"), shape=(2, 1, 128, 128), cell=1)
    assert not torch.isclose(a, b).any(dim=None) or (a == b).double().mean() < 0.01
    for values in (a, b):
        assert values.abs().max() <= 1
        assert values.mean().abs() < 0.02
        assert values.std().item() == pytest.approx(3**-0.5, abs=0.01)
        neighbouring = (values[0, 1:] * values[0, :-1]).mean() / values.var()
        assert neighbouring.abs() < 0.03  # neighbours are independent


def test_a_cell_of_nothing_is_refused(problem):
    with pytest.raises(UsageError, match="must be at least 1"):
        problem("random_targets", cell=0)


@pytest.mark.claim
def test_a_large_network_memorises_noise_and_learns_nothing_from_it(problem):
    """The paper's claim: capacity is enough to fit random labels; unseen ones stay at chance."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(20, 200, 1), nn.ReLU(), nn.Conv2d(200, 1, 1)).double()
    small = problem("random_targets", model=model, cell=1)
    rng = torch.Generator().manual_seed(1)
    source = torch.randn((2, 20, 8, 8), generator=rng, dtype=torch.float64)
    target = source.mean(dim=1, keepdim=True)  # a target that depends on the source
    batch = replace(small.batch, source=source, target=target, mask=torch.ones_like(target))
    seen = replace(batch, starts=((0, 0, 0),) * 2, cases=("a", "b"))
    elsewhere = {"starts": ((50, 0, 0),) * 2, "cases": ("c", "d")}
    unseen = replace(batch, source=source.flip(0).flip(-1), **elsewhere)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for number in range(300):
        step = small.composition.perturb(small.step(number, seen))
        optimizer.zero_grad()
        small.composition.evaluate(step).value.backward()
        optimizer.step()

    def error(given):
        random = small.composition.perturb(small.step(0, given)).batch.target
        return (model(given.source) - random).abs().mean().item()

    assert (model(source) - target).abs().mean() > 0.3  # it is not the source's CT that was learned
    assert error(seen) < 0.1
    assert error(unseen) > 0.4
