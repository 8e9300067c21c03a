"""``synthct explain``: one voxel of an unseen case, its source voxels and its training patients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synthct.data.errors import UsageError
from synthct.data.files import canonical_json, whole_folder, write_whole
from synthct.data.tables import six_digits
from synthct.tasks.explanation.artefacts import read_fold, read_scans
from synthct.tasks.explanation.important_directions import Attribution, attribute
from synthct.tasks.explanation.picture import Picture, explanation_png
from synthct.tasks.explanation.representers import fit_representers
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.networks.residual import ResidualModule
from synthct.tasks.models.normalise import fit_source
from synthct.tasks.models.windows import AxisWindows, Windows
from synthct.tasks.pipeline.randomness import generator
from synthct.tasks.regularization.layers import CONVOLUTIONS

VOXELS = 400
"""Number of training voxels of each patient to which the last layer is fitted."""

NUMBERS, PICTURE = "explanation.json", "explanation.png"
"""Files of an explanation."""

At = tuple[int, int, int]


def explain_case(
    registration: Path, training: Path, case: str, at: At, out: Path, *, steps: int = 30
) -> dict[str, Any]:
    """Write ``explanation.json`` and ``explanation.png`` of one voxel; returns the JSON.

    Parameters
    ----------
    registration, training
        Outputs of these stages.
    case
        A test case: its fold's network has not seen the patient.
    at
        Voxel (z, y, x) of the case's working grid, inside the body.
    out
        New folder; written whole or not at all.

    Raises
    ------
    UsageError
        ``no-case``: no trained fold tests the case. ``outside-body``: the voxel is not predicted.
        ``no-last-layer``: the network does not answer by one last convolution. ``out-not-empty``:
        ``out`` holds anything but an earlier explanation.
    DataError, MachineError
        A volume, or a file of the training stage, is missing or damaged.
    """
    _require_own(out)
    model, network, train = read_fold(training, case)
    scans = read_scans(registration / case)
    _require_inside(scans.inside, at, case)
    inputs, place = _window(scans.source, scans.inside, at, model)
    attribution = attribute(lambda x: _hu_at(network(x), place, model), inputs, steps=steps)
    head = _Head.of(network, inputs)
    representers = fit_representers(
        {
            other: _training_voxels(registration / other, head, model, other)
            for other in sorted(train)
        }
    )
    features = head.features(inputs, [place])[0]
    past = float(head.skip_hu(inputs, [place], model)[0])
    refitted = representers.predict(features) + past
    shares = representers.shares(features)
    document = {
        "format": 1,
        "case": case,
        "fold": model.fold,
        "at": list(at),
        "hu": six_digits(attribution.value),
        "source": {
            "baseline_hu": six_digits(attribution.baseline),
            "gap": float(f"{attribution.gap:.2g}"),
            "steps": steps,
            "half_of_it_within_mm": _reach(attribution, place, scans.spacing_mm),
        },
        "patients": {
            "hu_of_the_refitted_layer": six_digits(refitted),
            **({"calibrated_hu": six_digits(past)} if head.has_skip else {}),
            "shares_hu": {name: six_digits(share) for name, share in shares.items()},
            "voxels_each": VOXELS,
        },
    }
    picture = Picture(
        source=inputs[0].numpy(), shares=attribution.shares[0], place=place,
        spacing_mm=scans.spacing_mm, patients=shares, flat=model.dimensions == "2.5d",
        title=f"{case}, voxel {at}: {attribution.value:.0f} HU",
    )  # fmt: skip
    with whole_folder(out) as building:
        write_whole(building / NUMBERS, canonical_json(document))
        write_whole(building / PICTURE, explanation_png(picture))
    return document


def _require_own(out: Path) -> None:
    """Require a folder without other files: it is replaced as a whole."""
    if out.exists() and (
        not out.is_dir() or any(file.name not in (NUMBERS, PICTURE) for file in out.iterdir())
    ):
        raise UsageError(
            "the output folder holds other files",
            rule="an explanation goes into a folder that is new, empty or holds an earlier one",
            where=str(out),
            remedy="name another folder",
            code="out-not-empty",
        )


def _require_inside(inside: NDArray[np.bool_], at: At, case: str) -> None:
    within = all(0 <= index < size for index, size in zip(at, inside.shape, strict=True))
    if not within or not inside[at]:
        raise UsageError(
            f"voxel {at} is outside the body" if within else f"voxel {at} is outside the scan",
            rule=f"z, y and x count voxels of the working grid, {inside.shape}, inside the body",
            where=case,
            remedy="choose a voxel of the body",
            code="outside-body",
        )


def _window(
    array: NDArray[Any], inside: NDArray[np.bool_], at: At, model: ModelDescription
) -> tuple[Tensor, At]:
    """The window around a voxel as the network's input, and the voxel's place in its output."""
    flat = model.dimensions == "2.5d"
    sizes = (1, *model.patch_size) if flat else model.patch_size
    starts = [
        int(np.clip(index - size // 2, min(0, length - size), max(0, length - size)))
        for index, size, length in zip(at, sizes, array.shape, strict=True)
    ]
    z, y, x = (
        AxisWindows(length, size, (start,))
        for length, size, start in zip(array.shape, sizes, starts, strict=True)
    )
    window = Windows((z, y, x), model.slices, flat)
    scale = fit_source(array, inside, model.source_scaling)
    values = scale(window.read(array, (0, 0, 0))[None])
    place = (at[0] - starts[0], at[1] - starts[1], at[2] - starts[2])
    return torch.from_numpy(np.ascontiguousarray(values, np.float32)), place


def _hu_at(answer: Tensor, place: At, model: ModelDescription) -> Tensor:
    """The voxel's HU from the network's output (1, 1, [Z,] Y, X)."""
    scaling = model.target_scaling
    value = answer[0, 0][place[-(answer.ndim - 2) :]]
    return (value.double() + 1) / 2 * (scaling.high_hu - scaling.low_hu) + scaling.low_hu


class _Head:
    """The last convolution, whose input gives the features of a voxel.

    In a residual network its output is added to the calibrated scan.
    """

    def __init__(self, network: nn.Module, layer: nn.Conv2d | nn.Conv3d) -> None:
        self.network, self.layer = network, layer

    @classmethod
    def of(cls, network: nn.Module, inputs: Tensor) -> _Head:
        """The last convolution that the network runs; some networks have unused output layers."""
        called: list[nn.Module] = []
        handles = [
            module.register_forward_pre_hook(lambda layer, _: called.append(layer))
            for module in network.modules()
            if isinstance(module, CONVOLUTIONS)
        ]
        try:
            with torch.no_grad():
                network(inputs)
        finally:
            for handle in handles:
                handle.remove()
        last = called[-1]
        assert isinstance(last, nn.Conv2d | nn.Conv3d)
        return cls(network, last)

    def features(self, inputs: Tensor, places: Sequence[At]) -> NDArray[np.float64]:
        """(voxels, d): the neighbourhood that the last convolution sees, and 1 for its bias."""
        seen: list[Tensor] = []
        handle = self.layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        try:
            with torch.no_grad():
                self.network(inputs)
        finally:
            handle.remove()
        if len(seen) != 1:
            raise UsageError(
                f"the network runs its last convolution {len(seen)} times",
                rule="patients are found by the last layer, which computes the answer",
                where="training.network",
                remedy="explain a network that answers by one last convolution",
                code="no-last-layer",
            )
        (grid,) = seen
        reach = [size // 2 for size in self.layer.kernel_size]
        padded = nn.functional.pad(grid[0], [r for size in reversed(reach) for r in (size, size)])
        rows = []
        for place in places:
            # The map may be coarser than the input, and up-sampled behind the convolution.
            here = [
                p * own // full
                for p, own, full in zip(
                    place[-len(reach) :], grid.shape[2:], inputs.shape[2:], strict=True
                )
            ]
            box = tuple(slice(p, p + 2 * r + 1) for p, r in zip(here, reach, strict=True))
            rows.append(padded[(slice(None), *box)].flatten().double())
        found = torch.stack(rows).numpy()
        return np.concatenate([found, np.ones((len(found), 1))], axis=1)

    @property
    def has_skip(self) -> bool:
        """Whether the calibrated scan is added to the output of the last convolution."""
        return isinstance(self.network, ResidualModule)

    def skip_hu(
        self, inputs: Tensor, places: Sequence[At], model: ModelDescription
    ) -> NDArray[np.float64]:
        """HU of each voxel without the last convolution; 0 without a residual connection."""
        if not isinstance(self.network, ResidualModule):
            return np.zeros(len(places))
        with torch.no_grad():
            calibrated = self.network.calibrated(inputs)
        return np.array([float(_hu_at(calibrated, place, model)) for place in places])


def _training_voxels(
    folder: Path, head: _Head, model: ModelDescription, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features, and CT minus the residual connection [HU], of voxels in four windows of a body."""
    scans = read_scans(folder)
    voxels = np.argwhere(scans.inside)
    rng = generator(0, "explanation", name)
    centres = voxels[rng.choice(len(voxels), size=min(4, len(voxels)), replace=False)]
    features, targets, past = [], [], []
    for centre in centres:
        at = (int(centre[0]), int(centre[1]), int(centre[2]))
        inputs, place = _window(scans.source, scans.inside, at, model)
        start = np.asarray(at) - np.asarray(place)
        size = (1, *model.patch_size) if model.dimensions == "2.5d" else model.patch_size
        here = voxels[((voxels >= start) & (voxels < start + np.asarray(size))).all(axis=1)]
        chosen = here[rng.choice(len(here), size=min(VOXELS // 4, len(here)), replace=False)]
        places = [(int(z), int(y), int(x)) for z, y, x in chosen - start]
        features.append(head.features(inputs, places))
        past.append(head.skip_hu(inputs, places, model))
        targets.append(scans.ct[tuple(chosen.T)].astype(np.float64))
    scaling = model.target_scaling
    hu = np.clip(np.concatenate(targets), scaling.low_hu, scaling.high_hu)
    return np.concatenate(features), hu - np.concatenate(past)


def _reach(attribution: Attribution, place: At, spacing_mm: tuple[float, float, float]) -> float:
    """Radius in the plane around the voxel that holds half of all absolute shares [mm]."""
    shares = np.abs(attribution.shares[0]).sum(axis=0)
    if shares.ndim == 3:
        shares = shares.sum(axis=0)
    y, x = np.indices(shares.shape)
    far = np.hypot((y - place[1]) * spacing_mm[1], (x - place[2]) * spacing_mm[2]).ravel()
    order = np.argsort(far)
    total = np.cumsum(shares.ravel()[order])
    at = int(np.searchsorted(total, total[-1] / 2)) if total[-1] > 0 else 0
    return float(f"{far[order][at]:.4g}")
