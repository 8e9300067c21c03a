"""A regularizer with a spread of its own is trained to be honest by evaluation's penalty."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tasks.evaluation.uncertainty.calibration_penalty import calibration_penalty
from tasks.losses import LOSSES
from tasks.prediction.description import TargetScaling
from tasks.training.compose import Composition, Member, Term
from tasks.training.step import Regularizer
from tests.tasks.regularizers.conftest import Problem, small_batch, small_network


@dataclass(frozen=True)
class HonestMirrorings(Regularizer):
    """The spread over a mirroring says how large the error is."""

    def penalty(self, step):
        turned = step.forward(step.batch.source.flip(-1)).flip(-1)
        sigma = (step.prediction - turned).abs() / 2 + 1e-3
        error = (step.batch.target - (step.prediction + turned) / 2).detach()
        return calibration_penalty(error, sigma, step.batch.mask)


def test_a_plug_in_that_returns_it_brings_the_promised_and_the_observed_errors_together():
    terms = [Term("l1", 1e-9, LOSSES.build("l1", {}))]  # the penalty alone leads
    member = Member("honest_mirrorings", 1.0, HonestMirrorings())
    whole = Composition(terms, [member], TargetScaling())
    problem = Problem(small_network(), small_batch(count=4, side=12), whole)
    optimizer = torch.optim.Adam(problem.model.parameters(), lr=0.02)
    gaps = []
    for _ in range(120):
        optimizer.zero_grad()
        value = problem.objective()
        value.backward()
        optimizer.step()
        gaps.append(float(value))
    assert gaps[-1] < 0.4 * gaps[0]
