"""Feature maps of a volume from any TorchScript network."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from synthct.data.errors import UsageError

PROBE = 32
"""Side of the cube or square used to probe a network's input format [voxels]."""


@dataclass(frozen=True, eq=False)
class FeatureNetwork:
    """A frozen network phi that maps an image to a list of feature maps.

    Parameters
    ----------
    module
        TorchScript: ``forward(x)`` or ``forward(x, layers, statistics, direction)``.
    dimensions
        3, or 2: each (y, x) slice is processed separately.
    channels_in
        Number of input channels; the image is repeated.
    """

    module: Any
    dimensions: int
    channels_in: int

    def __call__(self, image: Tensor) -> list[Tensor]:
        """Maps (N, C, Z, Y, X), each on the image's grid, of an image (N, 1, Z, Y, X)."""
        if self.dimensions == 3:
            maps = self._run(image)
        else:
            count, _, depth = image.shape[:3]
            slices = image.transpose(1, 2).flatten(0, 1)
            maps = [flat.unflatten(0, (count, depth)).transpose(1, 2) for flat in self._run(slices)]
        return [_on_grid_of(image, values) for values in maps]

    def _run(self, x: Tensor) -> list[Tensor]:
        x = x.repeat(1, self.channels_in, *(1 for _ in x.shape[2:]))
        found = self.module(x)
        return [found] if isinstance(found, Tensor) else list(found)


@functools.lru_cache(maxsize=4)
def read_network(path: Path, device: str = "cpu") -> FeatureNetwork:
    """Read a network file; its number of axes and channels is determined by trial."""
    if not path.is_file():
        raise UsageError(
            "there is no such file",
            rule="the feature network is a TorchScript file",
            where=str(path),
            remedy="name a file, or use similarity 'mind', which needs none",
            code="impact-network",
        )
    try:
        module = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise UsageError(
            f"torch cannot load the file: {str(error).splitlines()[0]}",
            rule="the feature network is a TorchScript file",
            where=str(path),
            remedy="save it by torch.jit.save",
            code="impact-network",
        ) from error
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    for dimensions in (3, 2):
        for channels in (1, 3):
            network = FeatureNetwork(module, dimensions, channels)
            if _takes(network, device):
                return network
    raise UsageError(
        "the network failed on inputs of every supported shape",
        rule="the feature network takes (N, 1 or 3, Z, Y, X) or (N, 1 or 3, Y, X)",
        where=str(path),
        code="impact-network",
    )


def network_hash(path: Path) -> str:
    """SHA-256 of the file, which identifies the network."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _takes(network: FeatureNetwork, device: str) -> bool:
    probe = torch.zeros((1, 1, *(PROBE,) * 3), device=device)
    try:
        with torch.no_grad():
            maps = network(probe)
    except (RuntimeError, IndexError, ValueError):
        return False
    return all(values.ndim == 5 for values in maps)


def _on_grid_of(image: Tensor, values: Tensor) -> Tensor:
    """A map resized to the image's grid; one larger by an even border is cropped."""
    wanted = image.shape[2:]
    surplus = [m - n for m, n in zip(values.shape[2:], wanted, strict=True)]
    if not any(surplus):
        return values
    if all(0 <= s <= 4 and s % 2 == 0 for s in surplus):
        for axis, (s, n) in enumerate(zip(surplus, wanted, strict=True), start=2):
            values = values.narrow(axis, s // 2, n)
        return values
    return functional.interpolate(values, size=wanted, mode="trilinear", align_corners=False)
