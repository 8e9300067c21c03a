"""Layers that regularizers act on: found by their role in the network, or named in the params."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from synthct.tasks.regularization.base import Regularizer, missing_layers

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

FILTERED = (*CONVOLUTIONS, nn.Linear)
"""Layers whose weights are filters along their first axis."""


def activations(model: nn.Module) -> list[str]:
    """Names of all activations, in the order in which they were registered."""
    return [name for name, module in model.named_modules() if _is_activation(module)]


def before_head(model: nn.Module) -> list[str]:
    """The last activation before the last convolution: the features the output is computed from.

    Every path from input to output passes through it, skip connections included. Empty if there
    is none.
    """
    seen: list[str] = []
    last: list[str] = []
    for name, module in model.named_modules():
        if _is_activation(module):
            seen.append(name)
        if isinstance(module, CONVOLUTIONS):
            last = seen[-1:]
    return last


def bottleneck(model: nn.Module) -> list[str]:
    """The activation that follows the last of the widest convolutions; empty if there is none."""
    widest, found = 0, []
    waiting = False
    for name, module in model.named_modules():
        if isinstance(module, CONVOLUTIONS) and module.out_channels >= widest:
            widest, waiting = module.out_channels, True
        elif waiting and _is_activation(module):
            found, waiting = [name], False
    return found


def _is_activation(module: nn.Module) -> bool:
    inside = type(module).__module__ == nn.ReLU.__module__
    return inside and not isinstance(module, nn.MultiheadAttention)


class Role(NamedTuple):
    """Layers that a regularizer uses by default, found by their place in the network.

    Parameters
    ----------
    description
        What the layers are, for error messages.
    find
        Returns their names; empty if the network has none.
    """

    description: str
    find: Callable[[nn.Module], list[str]]


EVERY_ACTIVATION = Role("activation", activations)
BEFORE_HEAD = Role("activation before the last convolution", before_head)
BOTTLENECK = Role("activation after a convolution", bottleneck)


class LayerOutputs(Regularizer):
    """A regularizer of the outputs of layers: those named in the params, or those of a role."""

    role: ClassVar[Role] = BEFORE_HEAD
    """Which layers it acts on when the params name none."""

    def named(self) -> Sequence[str]:
        """Names of layers in the params; empty if there are none."""
        raise NotImplementedError

    def chosen(self, model: nn.Module) -> Sequence[str]:
        """Names of the layers that it acts on."""
        return self.named() or self.role.find(model)

    def problems(self, model: nn.Module) -> list[str]:
        """Named layers that are absent; or that the network has no layer of the role."""
        if self.named():
            return missing_layers(model, self.named())
        if self.role.find(model):
            return []
        return [f"found no {self.role.description} in this network; name the layers it acts on"]


@dataclass(frozen=True, kw_only=True)
class LayerOutput(LayerOutputs):
    """A regularizer of the output of one layer.

    Parameters
    ----------
    layer
        Name of the layer; empty: the layer of its role.
    """

    layer: str = ""

    def named(self) -> Sequence[str]:
        """The layer named in the params, if any."""
        return [self.layer] if self.layer else []


@dataclass(frozen=True, kw_only=True)
class Filters(Regularizer):
    """A regularizer of the filters of convolutions and linear layers.

    Parameters
    ----------
    layers
        Names of the convolutions or linear layers it acts on; empty: all of them.
    """

    layers: tuple[str, ...] = ()

    def problems(self, model: nn.Module) -> list[str]:
        """Named layers that are absent or have no filters."""
        missing = missing_layers(model, self.layers)
        if missing:
            return missing
        bare = [name for name in self.layers if not isinstance(model.get_submodule(name), FILTERED)]
        return [f"layer {name!r} is neither a convolution nor a linear layer" for name in bare]

    def modules(self, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """Names and modules of the convolutions and linear layers it acts on."""
        for name, module in model.named_modules():
            if isinstance(module, FILTERED) and (not self.layers or name in self.layers):
                yield name, module

    def matrices(self, model: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """Their names, and weights as matrices (output channels, weights of one filter)."""
        for name, module in self.modules(model):
            weight = module.weight
            assert isinstance(weight, Tensor)
            yield name, weight.flatten(1)
