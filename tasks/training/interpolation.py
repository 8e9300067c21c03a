r"""Weights between those for all regions and those fine-tuned to one, chosen on validation cases.

.. math:: w_l = (1 - a_l)\, w_l^\text{joint} + a_l\, w_l^\text{tuned}

with one amount *a* for all layers *l*, or *a* = 0 for the layers whose sharpness stands out. The
sharpness of a layer is how much the error on a batch rises when its weights alone move by
``REACH`` of their length in random directions. A layer that stands out (a straggler) makes the
straight path between the two networks cross a ridge; all others are interpolated without it.

References
----------
Abdollahpoorrostam, In Search of the Successful Interpolation: On the Role of Sharpness in CLIP
Generalization, arXiv:2410.16476. Interpolation of weights: Wortsman et al., Robust Fine-Tuning of
Zero-Shot Models, CVPR 2022, arXiv:2109.01903.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from statistics import median

import torch
from torch import Tensor, nn

AMOUNTS = (0.25, 0.5, 0.75, 1.0)

REACH = 0.05
"""Distance of the displaced weights, as a share of a layer's length."""

DRAWS = 2
"""Random directions for each layer; both signs of each are used."""

OUTLIER_FACTOR = 5.0
"""Times the median rise from which on a layer stands out."""

Weights = Mapping[str, Tensor]


def between(joint: Weights, tuned: Weights, amount: float, kept: Collection[str]) -> Weights:
    """Weights at ``amount`` of the way; tensors of layers in ``kept``, and integers, stay joint."""
    return {
        name: first
        if name.rpartition(".")[0] in kept or not first.is_floating_point()
        else torch.lerp(first, tuned[name].to(first), amount)
        for name, first in joint.items()
    }


def best_between(
    joint: Weights,
    tuned: Weights,
    stragglers: Collection[str],
    error: Callable[[Weights], float],
) -> tuple[Weights, float, str]:
    """The weights of least error among the amounts, with stragglers moved or kept joint.

    Returns
    -------
    The weights, their error, and what they are, in words.
    """
    found: list[tuple[float, int, Weights, str]] = []
    for kept in [(), stragglers] if stragglers else [()]:
        for amount in AMOUNTS:
            if amount == 1 and not kept:
                continue  # the tuned weights themselves
            weights = between(joint, tuned, amount, kept)
            text = f"{amount:g} of the way to the fine-tuned weights"
            if kept:
                text += f", without {', '.join(sorted(kept))}"
            found.append((error(weights), len(found), weights, text))
    least, _, weights, text = min(found, key=lambda one: one[:2])
    return weights, least, text


def layer_rises(model: nn.Module, error: Callable[[], Tensor], seed: int) -> dict[str, float]:
    """How much the error rises when one layer alone is displaced, by layer; weights are restored.

    Layers are modules with weights of two or more axes: scales and shifts of norms are not filters.
    """
    rng = torch.Generator().manual_seed(seed)
    rises: dict[str, float] = {}
    with torch.no_grad():
        here = float(error())
        for name, module in model.named_modules():
            weight = getattr(module, "weight", None)
            if not isinstance(weight, Tensor) or weight.ndim < 2:
                continue
            kept, length, there = weight.clone(), weight.norm(), []
            for _ in range(DRAWS):
                along = torch.randn(weight.shape, generator=rng).to(weight)
                along *= REACH * length / along.norm()
                for sign in (1, -1):
                    weight.copy_(kept + sign * along)
                    there.append(float(error()))
            weight.copy_(kept)
            rises[name] = sum(there) / len(there) - here
    return rises


def outstanding(rises: Mapping[str, float]) -> list[str]:
    """Layers whose rise is ``OUTLIER_FACTOR`` times the median of all, if that is positive."""
    if not rises:
        return []
    usual = median(rises.values())
    return [name for name, rise in rises.items() if rise > OUTLIER_FACTOR * usual > 0]
