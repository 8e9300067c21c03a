from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.models.contracts import Batch
from synthct.tasks.models.description import TargetScaling
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step
from synthct.tasks.regularization.gradients.hoag import Hoag
from synthct.tasks.regularization.gradients.inverse_hessian import (
    conjugate_gradients,
    neumann_series,
)
from synthct.tasks.training.compose import Composition, Member, Term


@dataclass(frozen=True)
class Ridge(Regularizer):
    """Squared length of the weights."""

    def penalty(self, step):
        return sum((p**2).sum() for p in step.model.parameters())


def squared_error(prediction, target):
    return (prediction - target.value).square().mean()


def ridge_problem(problem, model, strength, train, held_back, rate=1.0, **options):
    """Squared error plus a ridge whose strength is learned on ``held_back``."""
    small = problem("norm_loss", model=model)
    small.composition = Composition(
        [Term("squared", 1.0, squared_error)],
        [
            Member("ridge", strength, Ridge()),
            Member("hoag", rate, REGULARIZERS.build("hoag", options)),
        ],
        TargetScaling(),
    )
    batches = [
        replace(small.batch, source=s, target=t, mask=torch.ones_like(t))
        for s, t in (train, held_back)
    ]

    def act(number):
        step = replace(small.step(number, batches[0]), validation=lambda: batches[1])
        evaluated = small.composition.evaluate(step)
        model.zero_grad()
        evaluated.value.backward()
        again = lambda: small.composition.evaluate(step, again=True).value  # noqa: E731
        small.composition.gradient(replace(evaluated.step, objective=again))
        return small.composition.strengths["ridge"]

    return act


def test_conjugate_gradients_solve_a_small_system_exactly():
    matrix = torch.tensor([[4.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    right = (torch.tensor([1.0, 2.0], dtype=torch.float64),)
    (solved,) = conjugate_gradients(lambda v: (matrix @ v[0],), right, 2)
    assert solved.tolist() == pytest.approx([1 / 11, 7 / 11])


def test_a_start_near_the_solution_saves_products_with_the_hessian():
    matrix = torch.diag(torch.tensor([1.0, 5.0, 20.0, 80.0], dtype=torch.float64))
    right = (torch.ones(4, dtype=torch.float64),)
    counts = []
    for start in (None, (1.01 / matrix.diag(),)):
        asked = []

        def curved(v, asked=asked):
            asked.append(v)
            return (matrix @ v[0],)

        (solved,) = conjugate_gradients(curved, right, 20, 0.02, start)
        assert (matrix @ solved - right[0]).norm() <= 0.02 * right[0].norm()
        counts.append(len(asked))
    assert counts[1] == 1 < counts[0]


def test_a_start_that_is_worse_than_zero_is_not_used():
    right = (torch.tensor([1.0, 2.0], dtype=torch.float64),)
    far = (torch.tensor([1e6, -1e6], dtype=torch.float64),)
    (solved,) = conjugate_gradients(lambda v: v, right, 1, 1e-9, far)
    assert solved.tolist() == pytest.approx([1.0, 2.0])


def test_a_hypergradient_a_million_times_smaller_moves_the_strength_as_far(problem):
    """Of a weak penalty it is tiny, and a step in its own unit would leave the strength inert."""
    one = torch.ones((1, 1, 1, 1), dtype=torch.float64)
    reached = []
    for strength in (0.5, 0.5e-6):
        model = nn.Conv2d(1, 1, 1, bias=False).double()
        nn.init.ones_(model.weight)
        act = ridge_problem(
            problem, model, strength, (one, 2 * one), (one, 0.5 * one), rate=0.1, every=1
        )
        for number in range(5):
            found = act(number)
        reached.append(found / strength)
    assert min(reached) > 1.4


def test_negative_curvature_from_the_start_leaves_the_strengths_where_they_are():
    """Curvature -2 along the right side (1, 1): a step of 1/2 along it, and no further."""
    (solved,) = conjugate_gradients(lambda v: (-2 * v[0],), (torch.ones(2),), 5)
    assert solved.tolist() == [0.5, 0.5]


def test_negative_curvature_ends_the_iterations():
    """Right side (2, 1), curvatures 1 and -1: the first step is 5/3, the second direction bends."""
    bend = torch.tensor([1.0, -1.0])
    (solved,) = conjugate_gradients(lambda v: (bend * v[0],), (torch.tensor([2.0, 1.0]),), 5)
    assert solved.tolist() == pytest.approx([10 / 3, 5 / 3])


def test_hand_value(problem):
    """f = w x, w = 1, x = 1, target 2, ridge 0.5 w^2: Hessian 2 + 1, validation error |w - 0.5|."""
    model = nn.Conv2d(1, 1, 1, bias=False).double()
    nn.init.ones_(model.weight)
    one = torch.ones((1, 1, 1, 1), dtype=torch.float64)
    act = ridge_problem(
        problem, model, 0.5, (one, 2 * one), (one, 0.5 * one), rate=0.3, every=1, damping=1.0,
        iterations=1,
    )  # fmt: skip
    # q = 1 / (3 + damping) > 0; the mixed derivative is 0.5 * 2 w = 1: the strength grows, and at
    # the first update the hypergradient is its own usual length.
    assert act(0) == pytest.approx(0.5 * 2.718281828**0.3, rel=1e-6)
    assert model.weight.item() == 1.0


def test_an_update_is_at_most_a_factor_of_two(problem):
    model = nn.Conv2d(1, 1, 1, bias=False).double()
    nn.init.ones_(model.weight)
    one = torch.ones((1, 1, 1, 1), dtype=torch.float64)
    act = ridge_problem(problem, model, 0.5, (one, 2 * one), (one, 0.5 * one), rate=1e6, every=2)
    assert act(1) == 0.5  # not its turn
    assert act(2) == pytest.approx(1.0)


def test_an_unlisted_name_is_reported_with_those_listed(problem):
    one = torch.ones((1, 1, 1, 1), dtype=torch.float64)
    model = nn.Conv2d(1, 1, 1).double()
    act = ridge_problem(problem, model, 0.5, (one, one), (one, one), learned=("rigde",))
    with pytest.raises(UsageError, match="rigde") as caught:
        act(0)
    assert "ridge" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"every": 0},
        {"iterations": 0},
        {"damping": 0.0},
        {"tolerance": -1.0},
        {"rate": 0.0},
        {"solver": "newton"},
    ],
)
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match=r"(must|should) be"):
        problem("hoag", **options)


def drawn(count, rng):
    """Noisy observations of a weak linear law in 30 variables."""
    source = torch.randn((count, 30, 1, 1), generator=rng, dtype=torch.float64)
    noise = torch.randn((count, 1, 1, 1), generator=rng, dtype=torch.float64)
    return source, 0.3 * source[:, :10].sum(dim=1, keepdim=True) + noise


def ridge_error(strength, train, held_back):
    """Validation error of the exact ridge solution."""
    (x, y), (unseen, wanted) = ([v.flatten(1) for v in part] for part in (train, held_back))
    normal = x.T @ x / len(x) + strength * torch.eye(30, dtype=torch.float64)
    return (unseen @ torch.linalg.solve(normal, x.T @ y / len(x)) - wanted).abs().mean().item()


def finds_the_strength(problem, **options):
    """From a strength a hundred times too small, to near the best of an exact search."""
    rng = torch.Generator().manual_seed(1)
    train, held_back = drawn(40, rng), drawn(200, rng)
    best = min(ridge_error(10**k, train, held_back) for k in torch.linspace(-3, 1, 41).tolist())
    start = 0.002
    model = nn.Conv2d(30, 1, 1, bias=False).double()
    act = ridge_problem(problem, model, start, train, held_back, rate=0.3, every=4, **options)
    for number in range(240):
        reached = act(number)
        with torch.no_grad():
            model.weight -= 0.05 * model.weight.grad
    gap, first_gap = (ridge_error(s, train, held_back) - best for s in (reached, start))
    return gap < 0.1 * first_gap


@pytest.mark.claim
def test_the_strength_is_found_while_the_weights_are_still_moving(problem):
    """The paper's claim: strengths can be updated before the weights have converged."""
    assert finds_the_strength(problem)


def test_without_the_hypergradient_the_property_fails(problem, monkeypatch):
    monkeypatch.setattr(Hoag, "gradient", Regularizer.gradient)
    assert not finds_the_strength(problem)


def test_hand_value_of_the_series():
    """Curvatures 2 and 5 at rate 0.1: 0.1 (1 + 0.8 + 0.64) and 0.1 (1 + 0.5 + 0.25)."""
    curvature = torch.tensor([2.0, 5.0], dtype=torch.float64)
    right = (torch.ones(2, dtype=torch.float64),)
    (solved,) = neumann_series(lambda v: (curvature * v[0],), right, 2, 0.1)
    assert solved.tolist() == pytest.approx([0.244, 0.175])


def test_the_series_tends_to_the_solution_of_conjugate_gradients():
    rng = torch.Generator().manual_seed(3)
    root = torch.randn((6, 6), generator=rng, dtype=torch.float64)
    matrix = root @ root.T / 6 + 0.3 * torch.eye(6, dtype=torch.float64)
    right = (torch.randn(6, generator=rng, dtype=torch.float64),)
    curved = lambda v: (matrix @ v[0],)  # noqa: E731
    (exact,) = conjugate_gradients(curved, right, 20)
    gaps = [
        (neumann_series(curved, right, n, 0.3, 1e-12)[0] - exact).norm().item()
        for n in (3, 30, 600)
    ]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-6


def test_a_series_that_diverges_is_not_followed():
    """Curvature 50 at rate 0.1: the next term is 4 times as large."""
    (solved,) = neumann_series(lambda v: (50 * v[0],), (torch.ones(2),), 100, 0.1)
    assert solved.tolist() == pytest.approx([0.1, 0.1])


def test_the_unrolled_slope_is_that_of_the_validation_error_after_these_steps():
    """Against descent that is really done, with slightly different strengths."""
    rng = torch.Generator().manual_seed(1)
    train, held_back = drawn(20, rng), drawn(20, rng)
    first = torch.randn((1, 30, 1, 1), generator=rng, dtype=torch.float64)

    def after(strength):
        weight = first.clone().requires_grad_()
        for _ in range(3):
            error = (nn.functional.conv2d(train[0], weight) - train[1]).square().mean()
            (slope,) = torch.autograd.grad(error + strength * weight.square().sum(), weight)
            weight = (weight - 0.05 * slope).detach().requires_grad_()
        return (nn.functional.conv2d(held_back[0], weight) - held_back[1]).abs().mean().item()

    model = nn.Conv2d(30, 1, 1, bias=False).double()
    model.weight.data = first.clone()
    model(train[0]).sum().backward()
    mask = torch.ones_like(train[1])
    batches = [Batch(s, t, mask, (1.0, 1.0, 1.0), (), (), ()) for s, t in (train, held_back)]
    strengths = {"ridge": 0.2}
    step = Step(
        batch=batches[0], model=model, number=0, total=1, epoch=0, seed=0, run=model,
        objective=lambda: (
            (model(train[0]) - train[1]).square().mean()
            + strengths["ridge"] * model.weight.square().sum()
        ),
        validation=lambda: batches[1], strengths=strengths,
    )  # fmt: skip
    hoag = Hoag(solver="unrolled", iterations=3, rate=0.05)
    change = 1e-5
    expected = (after(0.2 * (1 + change)) - after(0.2 * (1 - change))) / (2 * change)
    assert hoag.slopes(step, ["ridge"])["ridge"] == pytest.approx(expected, rel=1e-4)
    assert torch.equal(model.weight, first)


@pytest.mark.claim
@pytest.mark.parametrize("solver", ["neumann", "unrolled"])
def test_the_other_solvers_find_the_strength_as_well(problem, solver):
    assert finds_the_strength(problem, solver=solver, iterations=10)


@dataclass(frozen=True)
class Decay(Regularizer):
    """Squared weights of some channels."""

    channels: slice

    def penalty(self, step):
        return step.model.weight[:, self.channels].square().sum()


def learned_decays(problem, parts):
    """Validation error where each of ``parts`` slices of the channels has a decay of its own."""
    rng = torch.Generator().manual_seed(1)
    train, held_back = drawn(40, rng), drawn(200, rng)
    model = nn.Conv2d(30, 1, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    small = problem("norm_loss", model=model)
    width = 30 // parts
    decays = [
        Member(f"decay_{n}", 0.05, Decay(slice(n * width, (n + 1) * width))) for n in range(parts)
    ]
    hoag = Member("hoag", 0.3, Hoag(solver="neumann", iterations=5, every=8))
    small.composition = Composition(
        [Term("squared", 1.0, squared_error)], [*decays, hoag], TargetScaling()
    )
    train, held_back = (
        replace(small.batch, source=s, target=t, mask=torch.ones_like(t))
        for s, t in (train, held_back)
    )
    for number in range(120):
        step = replace(small.step(number, train), validation=lambda: held_back)
        evaluated = small.composition.evaluate(step)
        model.zero_grad()
        evaluated.value.backward()
        again = lambda s=step: small.composition.evaluate(s, again=True).value  # noqa: E731
        small.composition.gradient(replace(evaluated.step, objective=again))
        with torch.no_grad():
            model.weight -= 0.05 * model.weight.grad
    with torch.no_grad():
        return (model(held_back.source) - held_back.target).abs().mean().item()


@pytest.mark.claim
def test_thirty_weight_decays_are_learned_and_beat_one(problem):
    """The claim of the Neumann series: many strengths at the price of one system."""
    one, thirty = learned_decays(problem, 1), learned_decays(problem, 30)
    assert thirty < 0.95 * one
