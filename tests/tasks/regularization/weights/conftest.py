"""Descent on weight penalties, and penalties taken away to show that the tests would notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from synthct.tasks.regularization import REGULARIZERS


@pytest.fixture
def descend() -> Callable:
    """Gradient descent on a problem's objective, with the harness around it.

    ``data=False`` leaves the penalty alone with the weights, so that its own minimum is reached.
    """

    def run(small, steps, learning_rate, *, data=True):
        if not data:
            small.composition.losses = ()
        parameters = list(small.model.parameters())
        optimizer = torch.optim.SGD(parameters, lr=learning_rate)
        small.composition.begin(small.step())
        for number in range(steps):
            step = replace(small.step(number), total=steps)
            evaluated = small.composition.evaluate(step)
            optimizer.zero_grad()
            (evaluated.value + sum(0 * p.sum() for p in parameters)).backward()
            small.composition.gradient(evaluated.step)
            optimizer.step()
            small.composition.project(step)

    return run


@pytest.fixture
def fails_without(monkeypatch) -> Callable:
    """Zero one penalty and require that the check of its property fails."""

    def require(name, check, *args):
        none = lambda self, step: step.batch.source.new_zeros(())  # noqa: E731
        monkeypatch.setattr(REGULARIZERS.get(name), "penalty", none)
        with pytest.raises(AssertionError):
            check(*args)

    return require
