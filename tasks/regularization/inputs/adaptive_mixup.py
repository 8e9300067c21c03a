"""AdaMixUp: mixup with learned mixing ratios, so that mixtures do not contradict the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from synthct.tasks.models.contracts import Batch
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Periodic, Step
from synthct.tasks.regularization.inputs.mixing import Mixture, draw_partners

FIRST = (1.0, 1.0, 0.0)
"""Initial logits of (below, width, above): ratios in [0.42, 0.84].

Ratios mostly above 1/2 break the symmetry between a pair and the same pair in reverse order."""


@REGULARIZERS.register("adaptive_mixup")
@dataclass(frozen=True)
class AdaptiveMixup(Periodic):
    r"""Mixup with ratios from a learned interval, :math:`\lambda = \alpha + \Delta\,\epsilon`.

    With :math:`\epsilon \sim U(0, 1)` and a policy
    :math:`(\alpha, \Delta, 1 - \alpha - \Delta) = \mathrm{softmax}(W s_{ij})` that depends on the
    distance of the pair, :math:`s_{ij} = (1, \overline{|x_i - x_j|}, \overline{|y_i - y_j|})`.
    Plain mixup fails where a mixture looks like a real sample with another target ("manifold
    intrusion"). The policy minimises

    .. math:: \overline{|f(\tilde x) - \tilde y|} -
              \overline{\log \varphi(\tilde x)} - \overline{\log(1 - \varphi(x))},

    the network's error on the mixture plus the loss of a discriminator :math:`\varphi` between
    mixtures and real samples, which is trained with the policy: mixtures should be consistent
    with the data and still differ from real samples. An adaptation to regression with image
    targets: policy and discriminator, networks in the paper, are a softmax and a logistic
    regression on a few statistics of the patches, 9 and 5 numbers that are stored in the
    checkpoint. They are trained in ``perturb`` by an extra pass through the network, whose
    weights and running statistics do not change. Shapes and units are those of the batch.

    For synthetic CT: an average of two thoraces may be a plausible third one, an average of head
    and lung is not; the mixing ratio depends on the pair.

    Acts at ``perturb``; the strength is the probability that a sample is mixed, in [0, 1].

    Parameters
    ----------
    learning_rate
        Learning rate of policy and discriminator (gradient descent).
    every
        They are trained at each k-th step only; other steps need no extra pass.

    References
    ----------
    Guo, Mao & Zhang, MixUp as Locally Linear Out-of-Manifold Regularization, AAAI 2019,
    arXiv:1809.02499.
    """

    learning_rate: float = 0.3
    every: int = 2

    incompatible: ClassVar[frozenset[str]] = frozenset({"mixup", "manifold_mixup"})

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        super().__post_init__()

    def perturb(self, step: Step) -> Batch:
        """Train the policy, then mix with it."""
        batch, rng = step.batch, step.rng
        count = batch.source.shape[0]
        if count < 2:
            return batch
        chosen = torch.rand(count, generator=rng) < step.strength
        partner = draw_partners(count, rng).to(batch.source.device)
        place = torch.rand(count, generator=rng).to(batch.source)
        if self.is_due(step):
            self._learn(step, partner, place)
        policy, _ = _parameters(step)
        share = share_of(policy, _distances(batch, partner), place)
        unmixed = ~chosen.to(share.device)
        return Mixture(partner, share.masked_fill(unmixed, 1.0)).of_batch(batch)

    def _learn(self, step: Step, partner: Tensor, place: Tensor) -> None:
        """One step of gradient descent for policy and discriminator; both are in the memory."""
        parameters = [tensor.requires_grad_() for tensor in _parameters(step)]
        policy, discriminator = parameters
        share = share_of(policy, _distances(step.batch, partner), place)
        mixed = Mixture(partner, share).of_batch(step.batch)
        error = ((step.forward(mixed.source) - mixed.target).abs() * mixed.mask).sum()
        loss = error / mixed.mask.sum().clamp(min=1)
        loss = loss - functional.logsigmoid(_statistics(mixed.source) @ discriminator).mean()
        loss = loss - functional.logsigmoid(-_statistics(step.batch.source) @ discriminator).mean()
        slopes = torch.autograd.grad(loss, parameters)
        for name, value, slope in zip(("policy", "judge"), parameters, slopes, strict=True):
            step.memory[name] = (value - self.learning_rate * slope).detach()


def share_of(policy: Tensor, distances: Tensor, place: Tensor) -> Tensor:
    """Ratios (B,) at ``place`` in [0, 1] of the interval that the policy (3, 3) gives each pair."""
    below, width, _ = functional.softmax(distances @ policy.T, dim=1).unbind(dim=1)
    return below + width * place


def _parameters(step: Step) -> tuple[Tensor, Tensor]:
    """Copies of policy (3, 3) and discriminator (5,); initially a wide interval and 1/2."""
    like = step.batch.source
    first = like.new_zeros((3, 3))
    first[:, 0] = torch.tensor(FIRST)
    policy, discriminator = (
        step.memory.get("policy", first),
        step.memory.get("judge", like.new_zeros(5)),
    )
    return policy.detach().clone().to(like), discriminator.detach().clone().to(like)


def _distances(batch: Batch, partner: Tensor) -> Tensor:
    """1 and the mean absolute differences of sources and of targets of each pair; (B, 3)."""
    apart = [(x - x[partner]).abs().flatten(1).mean(dim=1) for x in (batch.source, batch.target)]
    return torch.stack([torch.ones_like(apart[0]), *apart], dim=1)


def _statistics(source: Tensor) -> Tensor:
    """Inputs of the discriminator: 1, means of the powers 1, 2 and 4, and roughness; (B, 5)."""
    flat = source.flatten(1)
    rough = source.diff(dim=-1).flatten(1)
    jumps = rough.square().mean(dim=1) if rough.shape[1] else flat.new_zeros(flat.shape[0])
    moments = [flat.mean(dim=1), flat.square().mean(dim=1), flat.pow(4).mean(dim=1)]
    return torch.stack([torch.ones_like(jumps), *moments, jumps], dim=1)
