"""Convolutions of low rank as two thin convolutions in sequence."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from synthct.tasks.export.shrink import SHRINKERS, Calibration, Shrunk
from synthct.tasks.export.shrink.forms import as_shrunk

Convolution = nn.Conv2d | nn.Conv3d


@SHRINKERS.register("low_rank")
@dataclass(frozen=True)
class LowRank:
    r"""Each convolution whose weights have a low rank is factorised.

    The weights of a layer as a matrix :math:`W = U S V^\top` (output channels, weights of a filter)
    are cut after the least rank *r* at which :math:`\sum_{i \le r} s_i^2` is at least ``energy``
    of the whole: a convolution of the same size to *r* channels with the filters
    :math:`S_r V_r^\top`, then one of size 1 with :math:`U_r`. In two dimensions the other cut,
    :math:`k \times 1` then :math:`1 \times k`, is taken instead where it costs less. A layer is
    left as it is unless its multiply-adds fall.

    For networks trained with the regularizer ``trained_rank`` the factors equal the layer; others
    lose the discarded components.

    Parameters
    ----------
    energy
        Share of the squared singular values that is kept.

    References
    ----------
    Xu et al., TRP: Trained Rank Pruning for Efficient Deep Neural Networks, IJCAI 2020,
    arXiv:2004.14566.
    """

    energy: float = 0.999

    def __post_init__(self) -> None:
        if not 0 < self.energy <= 1:
            raise ValueError(f"energy must be in (0, 1], got {self.energy}")

    def shrink(self, network: nn.Module, calibration: Calibration) -> Shrunk:
        """The network with its factorised layers."""
        changed = copy.deepcopy(network)
        for name, module in list(changed.named_modules()):
            if name and isinstance(module, nn.Conv2d | nn.Conv3d) and module.groups == 1:
                pair = factorised(module, self.energy)
                if pair is not None:
                    changed.set_submodule(name, pair)
        return as_shrunk(changed, calibration)


def factorised(layer: Convolution, energy: float) -> nn.Sequential | None:
    """The cheapest pair of convolutions that keeps ``energy``; None if none is cheaper."""
    ways = [_by_channels(layer, energy)]
    if isinstance(layer, nn.Conv2d) and min(layer.kernel_size) > 1:
        ways.append(_by_direction(layer, energy))
    pair = min(ways, key=multiply_adds)
    return pair if multiply_adds(pair) < layer.weight.numel() else None


def rank_at(values: Tensor, energy: float) -> int:
    """Least number of singular values whose squares sum to ``energy`` of all; at least 1."""
    share = torch.cumsum(values.double() ** 2, 0)
    if share[-1] == 0:
        return 1
    return int((share < energy * share[-1] * (1 - 1e-12)).sum()) + 1


def _by_channels(layer: Convolution, energy: float) -> nn.Sequential:
    kind: Any = type(layer)
    u, s, v = torch.linalg.svd(layer.weight.detach().double().flatten(1), full_matrices=False)
    rank = rank_at(s, energy)
    first = kind(
        layer.in_channels, rank, layer.kernel_size, layer.stride, layer.padding, layer.dilation,
        bias=False, padding_mode=layer.padding_mode,
    )  # fmt: skip
    second = kind(rank, layer.out_channels, 1, bias=layer.bias is not None)
    _fill(first, (s[:rank, None] * v[:rank]).reshape(first.weight.shape), None)
    _fill(second, u[:, :rank].reshape(second.weight.shape), layer.bias)
    return nn.Sequential(first, second)


def _by_direction(layer: nn.Conv2d, energy: float) -> nn.Sequential:
    """Along y, then along x."""
    weight = layer.weight.detach().double()
    outputs, inputs, high, wide = weight.shape
    matrix = weight.permute(1, 2, 0, 3).reshape(inputs * high, outputs * wide)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    rank = rank_at(s, energy)
    whole: Any = layer.padding  # (y, x), or a word that holds for both
    pad = whole if isinstance(whole, tuple) else (0, 0)
    same = isinstance(layer.padding, str)
    first = nn.Conv2d(
        inputs, rank, (high, 1), (layer.stride[0], 1),
        whole if same else (pad[0], 0), (layer.dilation[0], 1),
        bias=False, padding_mode=layer.padding_mode,
    )  # fmt: skip
    second = nn.Conv2d(
        rank, outputs, (1, wide), (1, layer.stride[1]),
        whole if same else (0, pad[1]), (1, layer.dilation[1]),
        bias=layer.bias is not None, padding_mode=layer.padding_mode,
    )  # fmt: skip
    _fill(first, (u[:, :rank] * s[:rank]).T.reshape(rank, inputs, high, 1), None)
    _fill(second, v[:rank].reshape(rank, outputs, 1, wide).transpose(0, 1), layer.bias)
    return nn.Sequential(first, second)


def _fill(layer: Convolution, weight: Tensor, bias: Tensor | None) -> None:
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None and layer.bias is not None:
            layer.bias.copy_(bias)


def multiply_adds(pair: nn.Sequential) -> int:
    """Multiply-adds per voxel of the output: a layer before a stride runs on more voxels."""
    total, voxels = 0, 1
    for module in reversed(cast("list[Convolution]", list(pair))):
        total += voxels * module.weight.numel()
        voxels *= math.prod(module.stride)
    return total
