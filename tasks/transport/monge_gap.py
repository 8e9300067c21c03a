"""The Monge gap: excess cost of a map over optimal transport to the same result."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from synthct.tasks.transport.plan import plan
from synthct.tasks.transport.solvers import SparseNewton

SOLVER = SparseNewton(tolerance=1e-6, warm_up=10)


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """:math:`|x_i - y_j|^2` (N, M) of points (N, D) and (M, D)."""
    return (x[:, None, :] - y[None, :, :]).square().sum(dim=-1)


def monge_gap(x: Tensor, mapped: Tensor, eps: float) -> Tensor:
    r"""Cost of a map over the cost of the best plan between the same points.

    .. math:: M_\varepsilon(T) = \frac{1}{N} \sum_i |x_i - T(x_i)|^2
              - \min_P \big( \langle P, C\rangle - \varepsilon H(P) \big)
              - \varepsilon \log N, \qquad C_{ij} = |x_i - T(x_j)|^2

    with the entropy *H* of plans between the points *x* and their images, of mass 1/N each. It is
    never negative, since the map itself is one of the plans. As :math:`\varepsilon \to 0` it is 0
    for gradients of convex functions alone, on the line for maps that rise; with
    :math:`\varepsilon > 0` it is at most :math:`\varepsilon \log N` there. The paper's gap is
    larger by the constant :math:`\varepsilon \log N`.

    As a penalty it allows fitting any parametric map without pairs: a distance between laws
    determines where mass arrives, and the gap penalises mixing on the way. Its gradient takes the
    optimal plan as given (envelope theorem).

    Parameters
    ----------
    x, mapped
        Points and their images (N, D).
    eps
        Strength of the entropy [squared unit of the points].

    Returns
    -------
    Tensor
        A scalar, at least 0 up to the solver's tolerance; differentiable in ``mapped``.

    Raises
    ------
    UsageError
        ``transport-input``: points that are not finite, or ``eps`` not positive.
    DataError
        ``transport-diverged``: ``eps`` is too small for the solver.

    References
    ----------
    Uscidda & Cuturi, The Monge Gap: A Regularizer to Learn All Transport Maps, ICML 2023,
    arXiv:2302.04953.
    """
    count = len(x)
    cost = squared_distances(x, mapped)
    masses = torch.full((count,), 1 / count, dtype=torch.float64).numpy()
    solved = plan(masses, masses, cost.detach().cpu().numpy(), eps, SOLVER)
    mass = torch.from_numpy(solved.mass).to(cost)
    entropy = -float(torch.special.xlogy(mass, mass).sum())
    best = (mass * cost).sum() - eps * entropy
    return (x - mapped).square().sum(dim=-1).mean() - best - eps * math.log(count)
