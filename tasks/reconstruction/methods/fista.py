"""Accelerated proximal gradient steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.reconstruction.base import Memory, Method, Problem
from synthct.tasks.reconstruction.methods import RECONSTRUCTION_METHODS


@RECONSTRUCTION_METHODS.register("fista")
@dataclass(frozen=True)
class Fista(Method):
    r"""Proximal gradient steps with momentum, restarted where the momentum points uphill.

    .. math:: x_{k+1} = \mathrm{prox}_{\lambda R}(y_k - \nabla D(y_k)), \qquad
              y_{k+1} = x_{k+1} + \frac{t_k - 1}{t_{k+1}} (x_{k+1} - x_k)

    with :math:`t_{k+1} = (1 + \sqrt{1 + 4 t_k^2}) / 2`. One projection and one back-projection an
    iteration.

    References
    ----------
    Beck & Teboulle, SIAM J. Imaging Sci. 2 (2009) 183-202, doi:10.1137/080716542; restart:
    O'Donoghue & Candes, Found. Comput. Math. 15 (2015) 715-732, doi:10.1007/s10208-013-9150-3.
    """

    def begin(self, problem: Problem, image: Tensor) -> Memory:
        """Start with the first image, as *x* and *y*, and momentum 1."""
        start = image.clamp_min(0)
        return {"image": start, "ahead": start, "momentum": torch.ones(())}

    def advance(self, problem: Problem, memory: Memory) -> None:
        """One step from the extrapolated point."""
        ahead, before = memory["ahead"], memory["image"]
        image = problem.prox(ahead - problem.gradient(ahead), 1.0)
        momentum = float(memory["momentum"])
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        if float(((ahead - image) * (image - before)).sum()) > 0:
            following, share = 1.0, 0.0
        else:
            share = (momentum - 1) / following
        memory["image"], memory["ahead"] = image, image + share * (image - before)
        memory["momentum"] = torch.tensor(following)
