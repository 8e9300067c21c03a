"""Similar channels are merged by optimal transport instead of being pruned."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn

from synthct.data.errors import UsageError
from synthct.tasks.export.shrink import SHRINKERS, Calibration, Shrunk
from synthct.tasks.export.shrink.forms import as_shrunk

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.Mish, nn.SiLU, nn.Tanh, nn.Identity)
"""Layers that treat every channel alike and by itself."""

SHARPNESS = 0.02
"""Temperature of the plan, as a share of the median cost: near 0 it is the nearest channel."""


class Inner(NamedTuple):
    """A convolution, the norm after it if there is one, and the only convolution that reads it."""

    first: str
    norm: str
    second: str


@SHRINKERS.register("merged_channels")
@dataclass(frozen=True)
class MergedChannels:
    r"""Of the channels between two convolutions, ``keep`` remain; the others are merged into them.

    The importance :math:`\mu_i` of a channel is the length of its filter, or the scale of its norm,
    times the length of the weights that read it. One after the other, the channel remains whose
    importance times distance from those that already do is largest. Mass :math:`\mu_i` of
    channel *i* is carried to the remaining channels *k* at a cost :math:`c_{ik}`, the squared
    distance of their filters, offsets and scales. With the mass that arrives left free, entropic
    transport has the plan

    .. math:: T_{ik} = \mu_i \frac{e^{-c_{ik} / \epsilon}}{\sum_j e^{-c_{ij} / \epsilon}}.

    A remaining filter becomes the mean of what arrives, weighted by :math:`T`; the weights that
    read channel *i* are handed on in the shares :math:`T_{ik} / \mu_i`. Channels that are equal
    merge without loss, where cutting loses one of them. The paper also fixes the mass that arrives;
    then equal channels are torn apart unless every remaining one has as many of them: an
    adaptation.

    Only channels inside a block are merged: those that skip connections read stay. Batch norms in
    between are folded into the convolution; group norms over several channels are left alone.

    Parameters
    ----------
    keep
        Share of the channels that remain.

    References
    ----------
    Theus et al., Towards Meta-Pruning via Optimal Transport, ICLR 2024, arXiv:2402.07839.
    """

    keep: float = 0.75

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep must be in (0, 1], got {self.keep}")

    def shrink(self, network: nn.Module, calibration: Calibration) -> Shrunk:
        """The network with fewer channels inside its blocks."""
        changed = copy.deepcopy(network).requires_grad_(False)
        for inner in inner_channels(changed):
            merge(changed, inner, self.keep)
        return as_shrunk(changed, calibration)


def inner_channels(network: nn.Module) -> list[Inner]:
    """Pairs of convolutions of which the second alone reads the first.

    Raises
    ------
    UsageError
        ``network-not-traced``: the order of the layers depends on the input.
    """
    try:
        graph = fx.symbolic_trace(network).graph
    except Exception as error:  # torch.fx raises whatever the network's code raises
        raise UsageError(
            f"the network's graph cannot be read ({type(error).__name__})",
            rule="channels are merged where it is known which layers read them",
            remedy="leave merged_channels out of export.shrink for this network",
            code="network-not-traced",
        ) from error
    modules = dict(network.named_modules())
    calls = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    found = []
    for node in graph.nodes:
        if node.op != "call_module" or not _plain(modules[str(node.target)]):
            continue
        chain = list(_chain(node, modules))
        last = str(chain[-1].target) if chain else ""
        once = all(calls.count(str(one.target)) == 1 for one in (node, *chain))
        norms = [str(one.target) for one in chain if _is_norm(modules[str(one.target)])]
        if chain and once and len(norms) <= 1 and _plain(modules[last]):
            found.append(Inner(str(node.target), norms[0] if norms else "", last))
    return found


def _chain(node: fx.Node, modules: dict[str, nn.Module]) -> Iterator[fx.Node]:
    """Layers after a convolution up to the next one, if nothing else reads their outputs."""
    while len(node.users) == 1:
        node = next(iter(node.users))
        if node.op != "call_module":
            return
        module = modules[str(node.target)]
        yield node
        if not _is_norm(module) and not isinstance(module, ACTIVATIONS):
            return


def _plain(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d | nn.Conv3d) and module.groups == 1


def _is_norm(module: nn.Module) -> bool:
    batch = isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d) and module.track_running_stats
    group = isinstance(module, nn.GroupNorm) and module.num_groups == module.num_channels
    affine = batch or group
    return affine and getattr(module, "weight", None) is not None


def merge(network: nn.Module, inner: Inner, keep: float) -> None:
    """Merge the channels between two convolutions, in place."""
    first, second = network.get_submodule(inner.first), network.get_submodule(inner.second)
    assert isinstance(first, nn.Conv2d | nn.Conv3d)
    assert isinstance(second, nn.Conv2d | nn.Conv3d)
    norm = network.get_submodule(inner.norm) if inner.norm else None
    kept = max(1, round(keep * first.out_channels))
    if kept == first.out_channels:
        return
    if isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
        _fold(first, norm)
        network.set_submodule(inner.norm, nn.Identity())
        norm = None
    filters = first.weight.flatten(1)
    offsets = first.bias if first.bias is not None else filters.new_zeros(len(filters))
    scale = torch.ones_like(offsets)
    if isinstance(norm, nn.GroupNorm):  # which undoes length and offset of every filter
        filters = nn.functional.normalize(filters, dim=1)
        scale, offsets = norm.weight, norm.bias
    traits = torch.cat([scale[:, None] * filters, offsets[:, None]], dim=1)
    reads = second.weight.transpose(0, 1).flatten(1)
    importance = traits.norm(dim=1) * reads.norm(dim=1)
    plan, at = transport(traits, importance, kept)
    mixed = plan / plan.sum(dim=0).clamp_min(1e-30)
    shares = plan / plan.sum(dim=1, keepdim=True).clamp_min(1e-30)
    first.out_channels = second.in_channels = len(at)
    first.weight = nn.Parameter((mixed.T @ filters).reshape(len(at), *first.weight.shape[1:]))
    if isinstance(norm, nn.GroupNorm):
        smaller = nn.GroupNorm(len(at), len(at), norm.eps)
        smaller.weight = nn.Parameter(mixed.T @ scale)
        smaller.bias = nn.Parameter(mixed.T @ offsets)
        network.set_submodule(inner.norm, smaller)
        first.bias = None
    elif first.bias is not None:
        first.bias = nn.Parameter(mixed.T @ offsets)
    handed = (shares.T @ reads).reshape(len(at), second.out_channels, *second.weight.shape[2:])
    second.weight = nn.Parameter(handed.transpose(0, 1).contiguous())


def transport(traits: Tensor, importance: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """The plan (channels, kept) and which channels are kept, in their order."""
    at = _remaining(traits.double(), importance.double(), kept)
    cost = torch.cdist(traits.double(), traits[at].double()) ** 2
    typical = cost[cost > 0].median() if (cost > 0).any() else cost.new_ones(())
    mass = importance.double() + 1e-12 * importance.double().sum().clamp_min(1e-30)
    plan = mass[:, None] * torch.softmax(-cost / (SHARPNESS * typical), dim=1)
    return plan.to(traits), at


def _remaining(traits: Tensor, importance: Tensor, kept: int) -> Tensor:
    """Channels that are important and dissimilar to those chosen before, in the layer's order."""
    chosen = [int(importance.argmax())]
    far = ((traits - traits[chosen[0]]) ** 2).sum(dim=1)
    while len(chosen) < kept:
        worth = importance * far
        worth[chosen] = -1.0
        chosen.append(int(worth.argmax()))
        far = torch.minimum(far, ((traits - traits[chosen[-1]]) ** 2).sum(dim=1))
    return torch.tensor(sorted(chosen))


def _fold(convolution: nn.Conv2d | nn.Conv3d, norm: nn.BatchNorm2d | nn.BatchNorm3d) -> None:
    """Fold a batch norm (in evaluation mode) into the convolution before it."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    bias = convolution.bias if convolution.bias is not None else torch.zeros_like(factor)
    shape = (-1, *(1 for _ in convolution.weight.shape[1:]))
    convolution.weight = nn.Parameter(convolution.weight * factor.view(shape))
    convolution.bias = nn.Parameter((bias - norm.running_mean) * factor + norm.bias)
