from __future__ import annotations

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.models.networks import NETWORKS


def kept(small, samples=2000, columns=4, strength=1.0):
    """Factors on the columns' answers."""
    step = small.step().seen_by("drop_path", strength, {})
    return small.member.regularizer.hidden("columns", torch.ones(samples, columns, 1, 1), step)


def test_the_mean_is_over_those_that_are_kept(problem):
    factors = kept(problem("drop_path"))
    torch.testing.assert_close(factors.mean(dim=1), torch.ones(2000, 1, 1))
    counts = (factors > 0).sum(dim=1).flatten()
    assert counts.min() == 1
    # Alone half of the time; of the other half each stays at 0.85, so all four at 0.85^4.
    assert (counts == 1).double().mean().item() == pytest.approx(0.5, abs=0.05)
    assert (counts == 4).double().mean().item() == pytest.approx(0.5 * 0.85**4, abs=0.025)


def test_in_local_sampling_a_column_is_dropped_as_often_as_was_asked(problem):
    factors = kept(problem("drop_path", alone=0.0, drop=0.3), samples=20_000)
    dropped = (factors == 0).double().mean().item()
    # One stays where all four would be dropped, which takes a quarter of 0.3^4 off.
    assert dropped == pytest.approx(0.3 - 0.3**4 / 4, abs=0.005)


def test_at_strength_one_half_half_of_the_samples_keep_all(problem):
    factors = kept(problem("drop_path", alone=1.0), strength=0.5)
    assert (factors == 1).all(dim=1).double().mean().item() == pytest.approx(0.5, abs=0.04)


def test_a_network_without_columns_is_reported(problem):
    regularizer = problem("drop_path").member.regularizer
    options = {"slices": 1, "width": 4}
    plain = NETWORKS.build("unet_plus_plus", options).build()
    (message,) = regularizer.problems(plain)
    assert "columns: true" in message
    assert not regularizer.problems(
        NETWORKS.build("unet_plus_plus", {**options, "columns": True}).build()
    )


@pytest.mark.parametrize("options", [{"drop": 1.0}, {"alone": -0.1}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must be in"):
        problem("drop_path", **options)


class Columns(nn.Module):
    """Three columns of growing depth."""

    def __init__(self):
        super().__init__()
        deeper = lambda n: [m for _ in range(n) for m in (nn.Conv2d(8, 8, 1), nn.Tanh())]  # noqa: E731
        self.paths = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2, 8, 1), nn.Tanh(), *deeper(n), nn.Conv2d(8, 1, 1))
            for n in range(3)
        )
        self.columns = nn.Identity()

    def forward(self, x):
        answers = torch.cat([path(x) for path in self.paths], dim=1)
        return self.columns(answers).mean(dim=1, keepdim=True)


def errors(problem, weight):
    """Error of each column alone after training, and of all together."""
    torch.manual_seed(0)
    small = problem("drop_path", weight=weight, model=Columns().double())
    small.batch.target.copy_(torch.sin(2 * small.batch.source[:, :1]))
    optimizer = torch.optim.Adam(small.model.parameters(), lr=0.02)
    for number in range(200):
        optimizer.zero_grad()
        small.objective(small.step(number, seed=number)).backward()
        optimizer.step()
    with torch.no_grad():
        answers = torch.cat([path(small.batch.source) for path in small.model.paths], dim=1)
        mean = answers.mean(dim=1, keepdim=True)
        alone = (answers - small.batch.target).abs().mean(dim=(0, 2, 3))
        return alone.max().item(), (mean - small.batch.target).abs().mean().item()


@pytest.mark.claim
def test_each_column_alone_answers(problem):
    """The paper's claim: fixed-depth networks can be taken out (anytime)."""
    dropped, plain = errors(problem, 1.0), errors(problem, 0.0)
    assert dropped[0] < 0.4 * plain[0]
    assert dropped[0] < 0.2
