"""Similarity of the features of a pretrained network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing
from synthct.tasks.registration.contracts import Comparison
from synthct.tasks.registration.similarities import SIMILARITIES
from synthct.tasks.registration.similarities.feature_distances import DISTANCES, RELATIVE
from synthct.tasks.registration.similarities.feature_network import FeatureNetwork, read_network

PCA_VOXELS = 100_000
"""Approximate number of voxels from which the principal components are computed [voxels]."""

MIN_INITIAL = 0.01
"""Lower bound of the initial value, relative to the features' size: equal images give 0 [1]."""

TINY = 1e-12


@SIMILARITIES.register("impact")
@dataclass(frozen=True)
class Impact:
    r"""Distance between a frozen network's maps, :math:`\sum_l w_l D(\phi_l(f), \phi_l(m))`.

    ``static``: the maps of both whole images are computed once per level and the moving ones
    interpolated. ``jacobian``: patches around random voxels of the deformed image pass through
    the network at every iteration and their centres are compared, so that the gradient is
    propagated through the network.

    Parameters
    ----------
    network
        TorchScript file: ``forward(x)`` to a list of maps, 2-D or 3-D, one or three channels.
    layers
        Indices of the maps used, from 0; empty: all.
    weights
        Weight of each of those maps; empty: 1.
    distance
        ``l1 l2 cosine l1_cosine dice ncc dot``; L1 and L2 are relative to their initial value
        at the level.
    mode
        ``static`` or ``jacobian``.
    channels, reduction
        0: all channels. Otherwise this number per map: a random ``subset`` redrawn at every
        iteration, or the ``pca`` of the fixed image's features (static mode).
    patch, samples
        Side of a patch [voxels, odd] and number of patches per iteration (jacobian mode).

    References
    ----------
    Boussot, Hemon, Nunes, Dowling, Rouze, Lafond, Barateau & Dillenseger, IMPACT: a generic
    semantic loss for multimodal medical image registration, arXiv:2503.24121 (2025).
    """

    network: str
    layers: Sequence[int] = ()
    weights: Sequence[float] = ()
    distance: str = "l1"
    mode: str = "static"
    channels: int = 0
    reduction: str = "subset"
    patch: int = 11
    samples: int = 64

    def __post_init__(self) -> None:
        _one_of("distance", self.distance, DISTANCES)
        _one_of("mode", self.mode, ("static", "jacobian"))
        _one_of("reduction", self.reduction, ("subset", "pca"))
        if self.channels < 0:
            raise ValueError(f"channels must be at least 0, got {self.channels}")
        if self.patch < 3 or self.patch % 2 == 0:
            raise ValueError(f"patch must be odd and at least 3 [voxels], got {self.patch}")
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}")
        if self.mode == "jacobian" and self.channels and self.reduction == "pca":
            raise ValueError("reduction pca works in static mode")
        if self.weights and self.layers and len(self.weights) != len(self.layers):
            raise ValueError(
                f"weights must have one entry for each of {len(self.layers)} layers, "
                f"got {len(self.weights)}"
            )

    def compare(
        self, fixed: Tensor, moving: Tensor, spacing_mm: Spacing, rng: torch.Generator
    ) -> Comparison:
        """Comparison of two images (1, 1, Z, Y, X) by the network's features."""
        network = read_network(Path(self.network), str(fixed.device))
        if self.mode == "jacobian":
            return Comparison(moving, self._by_patches(network, fixed, rng))
        seen, other = self._maps(network, fixed), self._maps(network, moving)
        if self.channels and self.reduction == "pca":
            pairs = [_pca(a, b, self.channels) for a, b in zip(seen, other, strict=True)]
            seen, other = [a for a, _ in pairs], [b for _, b in pairs]
        sizes = [values.shape[1] for values in seen]
        distance = self._distance(rng)
        return Comparison(
            torch.cat(other, dim=1),
            lambda moved, weight: distance(seen, moved.split(sizes, dim=1), weight),
        )

    def _maps(self, network: FeatureNetwork, image: Tensor) -> list[Tensor]:
        maps = network(image)
        wanted = list(self.layers) or list(range(len(maps)))
        if max(wanted) >= len(maps) or min(wanted) < 0:
            raise ValueError(f"layers must lie in 0 to {len(maps) - 1}, got {wanted}")
        if self.weights and len(self.weights) != len(wanted):
            raise ValueError(f"weights must have {len(wanted)} entries, got {len(self.weights)}")
        return [maps[layer] for layer in wanted]

    def _distance(
        self, rng: torch.Generator
    ) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], Tensor]:
        """Weighted sum over the layers; stores the initial values and draws channel subsets."""
        distance, first = DISTANCES[self.distance], dict[int, float]()

        def total(fixed: Sequence[Tensor], moved: Sequence[Tensor], weight: Tensor) -> Tensor:
            value = weight.new_zeros(())
            for layer, (f, m) in enumerate(zip(fixed, moved, strict=True)):
                if self.reduction == "subset" and 0 < self.channels < f.shape[1]:
                    chosen = torch.randperm(f.shape[1], generator=rng)[: self.channels]
                    f, m = f[:, chosen.to(f.device)], m[:, chosen.to(f.device)]
                term = distance(f, m, weight)
                if self.distance in RELATIVE:
                    least = MIN_INITIAL * distance(f, torch.zeros_like(f), weight).item()
                    term = term / first.setdefault(layer, max(term.item(), least, TINY))
                value = value + (self.weights[layer] if self.weights else 1.0) * term
            return value

        return total

    def _by_patches(
        self, network: FeatureNetwork, fixed: Tensor, rng: torch.Generator
    ) -> Callable[[Tensor, Tensor], Tensor]:
        distance = self._distance(rng)

        def cost(moved: Tensor, weight: Tensor) -> Tensor:
            places = torch.nonzero(weight[0, 0] > 0.5)
            if len(places) == 0:
                return moved.sum() * 0
            drawn = torch.randint(len(places), (self.samples,), generator=rng)
            corners = places[drawn.to(places.device)]
            with torch.no_grad():
                seen = self._centres(network, _patches(fixed, corners, self.patch))
            found = self._centres(network, _patches(moved, corners, self.patch))
            return distance(seen, found, torch.ones_like(found[0][:, :1]))

        return cost

    def _centres(self, network: FeatureNetwork, patches: Tensor) -> list[Tensor]:
        """Features (N, C, 1, 1, 1) at the centres of patches (N, 1, p, p, p)."""
        c = self.patch // 2
        middle = (..., slice(c, c + 1), slice(c, c + 1), slice(c, c + 1))
        return [values[middle] for values in self._maps(network, patches)]


def _patches(image: Tensor, at: Tensor, side: int) -> Tensor:
    """Cubes (N, 1, p, p, p) around voxels ``at`` (N, 3); border values are replicated."""
    near = torch.arange(side, device=image.device) - side // 2
    axes = [(at[:, axis, None] + near).clamp(0, n - 1) for axis, n in enumerate(image.shape[2:])]
    z, y, x = axes[0][:, :, None, None], axes[1][:, None, :, None], axes[2][:, None, None, :]
    return image[0, 0][z, y, x][:, None]


def _pca(fixed: Tensor, moving: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Both maps projected onto the first ``count`` principal components of the fixed one."""
    rows = fixed.flatten(2)[0].T
    rows = rows[:: max(1, len(rows) // PCA_VOXELS)].double()
    mean = rows.mean(dim=0)
    _, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean))
    basis = vectors[:, -min(count, vectors.shape[1]) :].to(fixed)
    centre = mean.to(fixed).view(1, -1, 1, 1, 1)
    a, b = (torch.einsum("nczyx,ck->nkzyx", v - centre, basis) for v in (fixed, moving))
    return a, b


def _one_of(what: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {value!r}")
