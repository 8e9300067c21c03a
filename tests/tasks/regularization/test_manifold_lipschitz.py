from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization.inputs.manifold_lipschitz import NOISE, squared_slopes


def test_hand_value_of_two_voxels():
    """Sources 0 and 3 in a window of one, outputs 1 and 7: (7 - 1)^2 / (3^2 + 0.02^2)."""
    windows = torch.tensor([[[0.0], [3.0]]], dtype=torch.float64)
    output = torch.tensor([[1.0, 7.0]], dtype=torch.float64)
    inside = torch.ones(1, 2, dtype=torch.bool)
    slopes = squared_slopes(windows, output, inside, 8)
    assert slopes.flatten().tolist() == pytest.approx([36 / (9 + NOISE**2)] * 2)


def test_a_line_has_its_own_slope_everywhere():
    windows = torch.linspace(-1, 1, 50, dtype=torch.float64).view(1, 50, 1)
    inside = torch.ones(1, 50, dtype=torch.bool)
    slopes = squared_slopes(windows, 3.0 * windows[..., 0], inside, 8)
    torch.testing.assert_close(slopes, torch.full_like(slopes, 9.0), rtol=0.1, atol=0)


def test_voxels_outside_the_body_are_no_neighbours():
    windows = torch.tensor([[[0.0], [3.0], [0.5]]], dtype=torch.float64)
    output = torch.tensor([[1.0, 7.0, 900.0]], dtype=torch.float64)
    inside = torch.tensor([[True, True, False]])
    slopes = squared_slopes(windows, output, inside, 8)
    assert slopes[0, :2].tolist() == pytest.approx([36 / (9 + NOISE**2)] * 2)


def test_no_voxel_in_the_body_costs_nothing(problem):
    small = problem("manifold_lipschitz")
    batch = replace(small.batch, mask=torch.zeros_like(small.batch.mask))
    evaluated = small.composition.evaluate(small.step(batch=batch))
    assert evaluated.terms["manifold_lipschitz"].item() == 0.0


def test_multipliers_grow_by_the_excess_of_the_slope_and_never_below_zero(problem):
    steep, flat = (problem("manifold_lipschitz", slope=s, rate=0.5, bins=1) for s in (0.1, 1e3))
    for small in (steep, flat):
        for _ in range(3):
            evaluated = small.composition.evaluate(small.step())
            small.composition.project(evaluated.step)
    slope = steep.composition.evaluate(steep.step()).terms["manifold_lipschitz"]
    grown = steep.member.memory["multipliers"].item()
    excess = slope.item() / grown - 1  # relative squared slope, less 1
    assert grown == pytest.approx(1 + 3 * 0.5 * excess)
    assert flat.member.memory["multipliers"].item() == 0.0


def test_an_evaluation_at_other_weights_does_not_move_the_multipliers(problem):
    """Sharpness and learned strengths evaluate the objective again at displaced weights."""
    small, alone = problem("manifold_lipschitz"), problem("manifold_lipschitz")
    small.objective()
    with torch.no_grad():
        small.model[-1].weight.mul_(100.0)
    small.composition.project(small.composition.evaluate(small.step(), again=True).step)
    alone.composition.project(alone.composition.evaluate(alone.step()).step)
    torch.testing.assert_close(
        small.member.memory["multipliers"], alone.member.memory["multipliers"]
    )


@pytest.mark.parametrize(
    "options", [{"slope": 0.0}, {"rate": -1.0}, {"bins": 0}, {"samples": 1}, {"neighbours": 0}]
)
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must be"):
        problem("manifold_lipschitz", **options)


BOUND = 2.0


def trained(problem, weight):
    """A network that learns a line of slope 1 with a step of slope 20 in its middle."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 32, 1), nn.Tanh(), nn.Conv2d(32, 1, 1)).double()
    small = problem(
        "manifold_lipschitz", weight=weight, model=model, slope=BOUND, rate=0.2, bins=40, samples=96
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    rng = torch.Generator().manual_seed(3)
    for number in range(400):
        # Ramps: neighbouring voxels are alike, as in a scan.
        start = 1.5 * torch.rand((2, 1, 1, 1), generator=rng, dtype=torch.float64) - 1
        ramp = torch.linspace(0, 0.5, 12, dtype=torch.float64).view(1, 1, 12, 1)
        source = (start + ramp).expand(2, 1, 12, 12)
        target = source + 0.7 * torch.tanh(30 * source)
        batch = replace(small.batch, source=source, target=target, mask=torch.ones_like(source))
        step = small.step(number, batch, seed=number)
        evaluated = small.composition.evaluate(step)
        optimizer.zero_grad()
        evaluated.value.backward()
        optimizer.step()
        small.composition.project(evaluated.step)
    line = torch.linspace(-1, 1, 201, dtype=torch.float64).view(1, 1, 201, 1)
    with torch.no_grad():
        output = model(line).flatten()
    return (output.diff() / 0.01).abs(), (output[[20, 180]] - line.flatten()[[20, 180]]).abs()


@pytest.mark.claim
def test_the_largest_slope_meets_the_bound_and_the_ends_of_the_curve_stay(problem):
    """The paper's claim: dual weights learn a Lipschitz constant on the data, not a flat mean."""
    steep, _ = trained(problem, 0.0)
    bounded, ends = trained(problem, 0.3)
    print(steep.max(), bounded.max(), ends)
    assert steep.max() > 2 * BOUND
    assert bounded.max() < 1.3 * BOUND
    assert (ends > 0.4).all()  # the step of 0.7 on either side is learned, over a wider ramp
