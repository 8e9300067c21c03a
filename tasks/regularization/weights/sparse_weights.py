"""Sparse weights: those that matter least shrink softly, ever more of them, until they are zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Memory, Step
from synthct.tasks.regularization.layers import Filters


@REGULARIZERS.register("sparse_weights")
@dataclass(frozen=True)
class SparseWeights(Filters):
    r"""In every step the share *p* of a layer's weights that matters least is made smaller.

    .. math:: w_i \leftarrow (1 - s)\, w_i \quad \text{for the } p \text{ least } m_i, \qquad
              p(t) = P \left(1 - (1 - t / t_1)^3\right),

    where *s* is the strength, *P* the final sparsity, and :math:`t_1` the share of the run after
    which *p* stays. What matters is measured by

    * ``magnitude``: :math:`m_i = |w_i|` (iterative soft shrinkage). A weight may come back as long
      as its gradient outgrows the shrinking, so the pattern is learned with the weights;
    * ``relevance``: :math:`m_i = |w_i\, \partial L / \partial w_i|`, the change of the objective
      without the weight to first order; weights that are small but needed are kept. It is averaged
      over steps, since the gradient of one batch says little.

    In the weights that may be released the least *P* of each layer are zero. The second paper
    scales the decay of a weight by how far its :math:`|\partial L / \partial w|` is below the
    layer's, and prunes after training by a threshold that validation stops; here both rankings
    share one schedule: an adaptation. No unit.

    For synthetic CT: releases that are stored as their few weights (shrinker ``sparse_storage``).

    Acts at ``gradient`` (for the relevance) and ``project``; prunes at ``kept``.

    Parameters
    ----------
    sparsity
        *P*: share of the weights of every layer that is zero in the end.
    measure
        ``magnitude`` or ``relevance``.
    rise
        :math:`t_1`: share of the run.

    References
    ----------
    Wang et al., Iterative Soft Shrinkage Learning for Efficient Image Super-Resolution, ICCV 2023,
    arXiv:2303.09650. Bonetta, Ribero & Cancelliere, Regularization-based Pruning of Irrelevant
    Weights in Deep Neural Architectures, arXiv:2204.04977 (2022).
    """

    sparsity: float = 0.9
    measure: Literal["magnitude", "relevance"] = "magnitude"
    rise: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.sparsity < 1:
            raise ValueError(f"sparsity must be between 0 and 1, got {self.sparsity}")
        if not 0 < self.rise <= 1:
            raise ValueError(f"rise must be in (0, 1], got {self.rise}")

    def gradient(self, step: Step) -> None:
        """Remember the size of the gradients, where the measure needs it; change none."""
        if self.measure == "magnitude":
            return
        for name, module in self.modules(step.model):
            weight = module.weight
            assert isinstance(weight, nn.Parameter)
            if weight.grad is not None:
                size = weight.grad.detach().abs()
                # Of a run that is resumed, the memory is on the CPU.
                before = step.memory.get(name, size).to(size)
                step.memory[name] = REMEMBERED * before + (1 - REMEMBERED) * size

    def project(self, step: Step) -> None:
        """Shrink the weights that matter least."""
        share = self.sparsity * (1 - (1 - min(1.0, step.progress / self.rise)) ** 3)
        with torch.no_grad():
            for weight, least in self._least(step.model, step.memory, share):
                weight[least] *= max(0.0, 1 - step.strength)

    def kept(self, model: nn.Module, memory: Memory) -> None:
        """Set the weights that matter least to zero."""
        with torch.no_grad():
            for weight, least in self._least(model, memory, self.sparsity):
                weight[least] = 0.0

    def _least(self, model: nn.Module, memory: Memory, share: float) -> list[tuple[Tensor, Tensor]]:
        found = []
        for name, module in self.modules(model):
            weight = module.weight
            assert isinstance(weight, Tensor)
            count = int(share * weight.numel())
            matters = weight.detach().abs()
            if self.measure == "relevance" and name in memory:
                matters = matters * memory[name].to(matters)
            least = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
            least[torch.argsort(matters.flatten(), stable=True)[:count]] = True
            found.append((weight, least.view_as(weight)))
        return found


REMEMBERED = 0.9
"""Share of the mean gradient size that is kept from step to step."""
