"""Properties of all regularizers; a new one is tested as soon as it is registered."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from synthct.tasks.regularization import REGULARIZERS, catalogue
from synthct.tasks.regularization.base import Periodic, seams_of

NAMES = REGULARIZERS.names()
OF_THE_WHOLE_BATCH = [n for n in NAMES if "perturb" not in seams_of(REGULARIZERS.get(n))]
"""A perturbation is drawn for each sample, so a doubled batch is not the same batch."""
PERIODIC = [n for n in NAMES if issubclass(REGULARIZERS.get(n), Periodic)]
VARIANTS = [(name, {}) for name in NAMES] + [("gradient_norm", {"method": "exact"})]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def gradients(problem):
    return [p.grad.clone() for p in problem.model.parameters()]


def test_a_docstring_without_equation_seam_purpose_or_source_is_refused(name):
    (entry,) = catalogue(name)
    assert ":math:" in entry["doc"] or ".. math::" in entry["doc"]
    assert "For synthetic CT" in entry["doc"]
    assert "References\n---" in entry["doc"]
    assert entry["seams"], f"{name} acts at no seam"
    for seam in entry["seams"]:
        assert f"``{seam}``" in entry["doc"], f"{name}: the docstring does not name {seam}"
    for parameter in entry["parameters"]:
        assert f"\n{parameter['name']}\n" in entry["doc"], f"{parameter['name']} is undocumented"


def test_a_step_with_it_stays_finite(name, problem):
    small = problem(name)
    small.one_step()
    assert torch.isfinite(small.objective())
    assert all(torch.isfinite(g).all() for g in gradients(small))


def test_the_same_step_twice_is_the_same(name, problem):
    first, second = problem(name), problem(name)
    first.one_step()
    torch.rand(7)  # other code draws from the global generator
    second.one_step()
    assert all(map(torch.equal, gradients(first), gradients(second)))


def test_switched_off_it_changes_nothing(name, problem):
    off, none = problem(name, weight=0.0), problem(name, weight=0.0)
    none.composition.members = ()
    for small in (off, none):
        small.one_step()
        small.composition.project(small.step())
    assert all(map(torch.equal, gradients(off), gradients(none)))
    before, after = none.model.state_dict(), off.model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert off.member.memory == {}


def test_extra_passes_leave_weights_and_running_statistics_alone(name, problem):
    small = problem(name)
    step = small.composition.perturb(small.step())
    evaluated = small.composition.evaluate(step)
    evaluated.value.backward()
    before = copy.deepcopy(small.model.state_dict())
    again = lambda: small.composition.evaluate(step, again=True).value  # noqa: E731
    small.composition.gradient(replace(evaluated.step, objective=again))
    after = small.model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_batch_is_not_changed_in_place(name, problem):
    small = problem(name)
    before = [small.batch.source.clone(), small.batch.target.clone(), small.batch.mask.clone()]
    small.one_step()
    after = [small.batch.source, small.batch.target, small.batch.mask]
    assert all(map(torch.equal, before, after))


@pytest.mark.parametrize("name", PERIODIC)
def test_a_longer_period_does_not_change_the_mean_strength(name, problem):
    always, seldom = problem(name, every=1), problem(name, every=3)
    once = always.composition.evaluate(always.step(number=0)).terms.get(name)
    thrice = seldom.composition.evaluate(seldom.step(number=0)).terms.get(name)
    assert (once is None) == (thrice is None)
    if once is not None:
        torch.testing.assert_close(thrice, 3 * once)
    assert name not in seldom.composition.evaluate(seldom.step(number=1)).terms


@pytest.mark.parametrize("name", OF_THE_WHOLE_BATCH)
def test_the_same_batch_twice_has_the_same_objective(name, problem):
    small = problem(name)
    batch = small.batch
    doubled = replace(
        batch,
        source=torch.cat([batch.source] * 2),
        target=torch.cat([batch.target] * 2),
        mask=torch.cat([batch.mask] * 2),
        regions=batch.regions * 2,
        cases=batch.cases * 2,
        starts=batch.starts * 2,
    )
    once, twice = small.objective(), small.objective(small.step(batch=doubled))
    torch.testing.assert_close(once, twice)


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_the_gradient_is_the_derivative(name, options, problem):
    small = problem(name, **options)
    step = small.composition.perturb(small.step())
    parameters = list(small.model.parameters())
    value = small.composition.evaluate(step, again=True).value
    slopes = torch.autograd.grad(value, parameters)
    rng = torch.Generator().manual_seed(3)
    along = [torch.randn(p.shape, generator=rng, dtype=p.dtype) for p in parameters]
    predicted = sum((s * d).sum() for s, d in zip(slopes, along, strict=True))
    ends = []
    for sign in (1, -1):
        moved = copy.deepcopy(small.model)
        with torch.no_grad():
            for p, d in zip(moved.parameters(), along, strict=True):
                p.add_(sign * 1e-6 * d)
        there = replace(step, model=moved, run=moved)
        ends.append(small.composition.evaluate(there, again=True).value.item())
    measured = (ends[0] - ends[1]) / 2e-6
    assert measured == pytest.approx(float(predicted), rel=1e-5, abs=1e-8)
