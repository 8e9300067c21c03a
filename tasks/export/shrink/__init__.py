"""Smaller and faster forms of a trained network: plug-in modules, imported at the first look-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from synthct.data.registry import Registry
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.sliding import Runner


@dataclass(frozen=True, eq=False)
class Calibration:
    """Context in which a network is shrunk.

    Parameters
    ----------
    model
        Description of the network.
    opset
        Minimum ONNX operator set of the graph.
    inputs
        Windows of training cases (B, C, Y, X) or (B, 1, Z, Y, X), as the network sees them.
    """

    model: ModelDescription
    opset: int
    inputs: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Shrunk:
    """A form of a network.

    Parameters
    ----------
    graph
        ONNX.
    reference
        Runner that the graph is compared with before release: the same weights without ONNX, or
        without packing.
    multiply_adds
        Of one window, as the network computes them.
    """

    graph: bytes
    reference: Runner
    multiply_adds: int


class Shrinker(Protocol):
    """A frozen dataclass whose fields are the options of one way to shrink a network."""

    def shrink(self, network: nn.Module, calibration: Calibration) -> Shrunk:
        """The smaller form; ``network`` (in evaluation mode) is not changed."""


SHRINKERS: Registry[Shrinker] = Registry(
    "shrinker", group="synthct.shrinkers", package="synthct.tasks.export.shrink"
)
