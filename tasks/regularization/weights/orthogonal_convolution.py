"""Orthogonal convolution: every convolution, as an operator on images, preserves the norm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import PeriodicPenalty, Step, missing_layers
from synthct.tasks.regularization.layers import Filters

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d

_CONVOLVE: dict[int, Callable[..., Tensor]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}


@REGULARIZERS.register("orthogonal_convolution")
@dataclass(frozen=True)
class OrthogonalConvolution(Filters, PeriodicPenalty):
    r"""Distance of convolutions from orthogonal operators, from their kernels alone.

    .. math:: \sum_l \left\| \operatorname{conv}(K_l, K_l;\ P, S) - I_0 \right\|_F^2
              - \max(0,\ M - C\,S^d), \qquad P = \left\lfloor\frac{k-1}{S}\right\rfloor S

    :math:`K_l` has shape (M, C, k, ..., k), stride *S*, in *d* dimensions; its *M* filters are
    convolved with each other. :math:`I_0` is one for a filter with itself at shift zero, else
    zero. With at most :math:`C S^d` outputs the rows of the operator become orthonormal, with
    more its columns; the last term is the smallest possible value of the first, so that the
    minimum is zero in both cases. For the operator :math:`\mathcal K` on periodic images of
    :math:`N^d` output voxels, :math:`\|\mathcal K \mathcal K^\top - I\|_F^2` (or
    :math:`\|\mathcal K^\top \mathcal K - I\|_F^2`) is :math:`N^d` times this value for any image
    size. This is stronger than orthonormal filters, which may still respond alike to shifted
    images. Where :math:`M = C S^d` gradient descent often ends in a local minimum that is not
    orthogonal. No unit; independent of the batch. A grouped convolution counts as one kernel per
    group.

    For synthetic CT: errors of the source (noise, bias field) are not amplified in HU.

    Acts at ``penalty``. The strength in the code of Wang et al. is 0.5.

    Parameters
    ----------
    layers
        Names of the convolutions it acts on; empty: all for which an orthogonal kernel exists.
        At ResNet-34 widths all layers cost more than a training step.

    References
    ----------
    Achour, Malgouyres & Mamalet, Existence, Stability and Scalability of Orthogonal
    Convolutional Neural Networks, JMLR 23 (2022), arXiv:2108.05623; the penalty is that of
    Wang, Chen, Chakraborty & Yu, Orthogonal Convolutional Neural Networks, CVPR 2020.
    """

    def problems(self, model: nn.Module) -> list[str]:
        """Named layers that are absent, no convolutions, or cannot become orthogonal."""
        missing = missing_layers(model, self.layers)
        return missing or [p for name in self.layers if (p := _problem(name, model))]

    def cost(self, step: Step) -> Tensor | None:
        """Sum over the convolutions; a scalar without unit."""
        distances = [_distance(module) for module in self._convolutions(step.model)]
        return torch.stack(distances).sum() if distances else None

    def _convolutions(self, model: nn.Module) -> Iterator[Convolution]:
        for name, module in model.named_modules():
            if isinstance(module, Convolution) and (
                name in self.layers or (not self.layers and _can_be_orthogonal(module))
            ):
                yield module


def _problem(name: str, model: nn.Module) -> str | None:
    module = model.get_submodule(name)
    if not isinstance(module, Convolution):
        return f"layer {name!r} is not a convolution"
    if not _can_be_orthogonal(module):
        return (
            f"layer {name!r} cannot become orthogonal: kernel {tuple(module.weight.shape)} "
            f"at stride {module.stride}"
        )
    return None


def _can_be_orthogonal(module: Convolution) -> bool:
    """Whether an orthogonal kernel of this shape exists (periodic images)."""
    outputs, inputs = module.out_channels // module.groups, module.in_channels // module.groups
    if outputs <= inputs * math.prod(module.stride):
        return outputs <= inputs * math.prod(module.kernel_size)
    return all(s <= k for s, k in zip(module.stride, module.kernel_size, strict=True))


def _distance(module: Convolution) -> Tensor:
    kernels = module.weight.unflatten(0, (module.groups, -1))
    stride = module.stride
    return torch.stack([_kernel_distance(kernel, stride) for kernel in kernels]).sum()


def _kernel_distance(kernel: Tensor, stride: tuple[int, ...]) -> Tensor:
    outputs, inputs, *sizes = kernel.shape
    padding = [(k - 1) // s * s for k, s in zip(sizes, stride, strict=True)]
    products = _CONVOLVE[len(sizes)](kernel, kernel, stride=stride, padding=padding)
    target = torch.zeros_like(products)
    channels = torch.arange(outputs, device=kernel.device)
    unshifted = [length // 2 for length in products.shape[2:]]
    itself: tuple[Tensor | int, ...] = (channels, channels, *unshifted)
    target[itself] = 1
    return ((products - target) ** 2).sum() - max(0, outputs - inputs * math.prod(stride))
