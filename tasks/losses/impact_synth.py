"""IMPACT-Synth: difference of the features of prediction and CT in a frozen network."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from synthct.tasks.losses import LOSSES
from synthct.tasks.losses.pointwise import inside, weighted_mean
from synthct.tasks.losses.self_similarity import self_similarity
from synthct.tasks.models.contracts import Target

Features = Callable[[Tensor], list[Tensor]]


@LOSSES.register("impact_synth")
@dataclass(frozen=True)
class ImpactSynth:
    r"""Mean absolute difference of features, :math:`\sum_l a_l\, \overline{|\phi_l(p) -
    \phi_l(t)|}`.

    :math:`\phi` is frozen: any TorchScript network ``forward(x) -> [map, ...]`` or, as for
    registration, ``forward(x, layers, statistics, direction)``; without one, self-similarity
    descriptors. Network units are scaled to ``input_range``. A 2-D network is applied to every
    slice of a volume; a 3-D network gets a 2.5-D prediction as a volume of one slice. The mean is
    over the body, on the grid of each map. The published recipe adds it to the mean absolute
    error: list ``l1`` as well. Unit: that of the features.

    Parameters
    ----------
    network
        TorchScript file; empty: self-similarity descriptors, which need no file.
    sha256
        SHA-256 of that file. A file with another one is not run; it is part of the cache key.
    dimensions
        Dimensions of the network's input, 2 or 3; 0: those of the prediction.
    channels
        Copies of the image as input channels (3 for networks trained on photographs).
    layer_weights
        :math:`a_l` of the maps in their order; further maps are not used.
    input_range
        Values that -1 and 1 network units are scaled to.

    References
    ----------
    Boussot, Hémon, Nunes & Dillenseger, Why Registration Quality Matters: Enhancing sCT Synthesis
    with IMPACT-Based Registration (2025); after Boussot, Hémon, Nunes, Dowling, Rouzé, Lafond,
    Barateau & Dillenseger, IMPACT: A Generic Semantic Loss for Multimodal Medical Image
    Registration, arXiv:2503.24121.
    """  # noqa: D205

    network: str = ""
    sha256: str = ""
    dimensions: Literal[0, 2, 3] = 0
    channels: int = 1
    layer_weights: tuple[float, ...] = (1.0,)
    input_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise ValueError(f"channels must be at least 1, got {self.channels}")
        low, high = self.input_range
        if not low < high:
            raise ValueError(f"input_range must be low < high, got {list(self.input_range)}")
        weights = self.layer_weights
        if not weights or min(weights) < 0 or not sum(weights) > 0 or math.isinf(sum(weights)):
            raise ValueError(f"layer_weights must be >= 0, one above 0, got {list(weights)}")
        if not self.network:
            if self.channels > 1 or len(weights) > 1:
                raise ValueError("without a network there is one channel and one layer")
            return
        found = _hash(self.network)
        if found != self.sha256:
            raise ValueError(f"sha256 of {self.network} must be that of the file, {found}")

    def __call__(self, prediction: Tensor, target: Target) -> Tensor:
        """Compare (B, 1, [Z,] Y, X) with ``target.value``; a scalar [units of the features]."""
        phi = _features(self.network, self.sha256, len(self.layer_weights), str(prediction.device))
        predicted = phi(self._input(inside(prediction, target)))
        with torch.no_grad():
            true = phi(self._input(target.value))
            weight = self._oriented(target.weight)
        if len(predicted) < len(self.layer_weights):
            raise ValueError(
                f"{self.network or 'self-similarity'} returns {len(predicted)} maps, "
                f"layer_weights has {len(self.layer_weights)}"
            )
        total = prediction.new_zeros(())
        for p, t, a in zip(predicted, true, self.layer_weights, strict=False):
            difference = (p - t).abs().mean(dim=1, keepdim=True)
            at = weight
            if at.shape[2:] != difference.shape[2:]:
                at = functional.interpolate(weight, size=difference.shape[2:], mode="nearest")
            total = total + a * weighted_mean(difference.to(prediction.dtype), at)
        return total

    def _input(self, image: Tensor) -> Tensor:
        low, high = self.input_range
        scaled = low + (image + 1) / 2 * (high - low)
        oriented = self._oriented(scaled)
        return oriented.repeat(1, self.channels, *(1 for _ in oriented.shape[2:]))

    def _oriented(self, image: Tensor) -> Tensor:
        """The image as the network's input: slices of a volume, or a slice as a volume of one."""
        dims = image.ndim - 2
        if self.dimensions == 2 and dims == 3:
            return image.transpose(1, 2).flatten(0, 1)[:, None]
        if self.dimensions == 3 and dims == 2:
            return image[:, :, None]
        return image


@functools.lru_cache(maxsize=4)
def _features(network: str, sha256: str, layers: int, device: str) -> Features:
    if not network:
        return self_similarity
    if _hash(network) != sha256:
        raise ValueError(
            f"{network} has changed since params.yaml was checked: its sha256 is another"
        )
    module = torch.jit.load(network, map_location=device).eval()  # type: ignore[no-untyped-call]
    for weight in module.parameters():
        weight.requires_grad_(False)
    arguments = len(module.forward.schema.arguments) - 1

    def features(image: Tensor) -> list[Tensor]:
        inputs: tuple[object, ...] = (image,)
        if arguments == 4:  # number of layers, [min, max, mean, sd] of the image, direction
            values = image.detach().flatten()
            statistics = [values.min(), values.max(), values.mean(), values.std()]
            inputs = (image, layers, torch.stack(statistics), 0)
        maps = module(*inputs)
        return list(maps) if isinstance(maps, list | tuple) else [maps]

    return features


def _hash(network: str) -> str:
    try:
        return hashlib.sha256(Path(network).read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(
            f"network must be a readable TorchScript file, got {network!r} ({error.strerror})"
        ) from error
