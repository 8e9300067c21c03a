"""Unpaired scans at the voxel size of training, each in a scratch file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import mask_empty
from synthct.data.files import canonical_json, write_whole
from synthct.data.itk import resample
from synthct.data.store.volumes import read_volume
from synthct.data.volume import Modality, Triple, Volume
from synthct.tasks.fields.geometry import working_grid
from synthct.tasks.models.description import SourceScaling
from synthct.tasks.models.normalise import fit_source
from synthct.tasks.pipeline.randomness import generator

MARGIN_MM = 15.0
"""Margin around the body [mm]."""

CT_WINDOW_HU = (-1000.0, 1500.0)
"""Clipping window of a CT [HU], as in registration: otherwise dental fillings would dominate the
standard deviation."""

QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.997)
"""Quantiles of the body at which an intensity curve may bend; they separate the tissues of any
modality."""

PLACES = 50_000
"""Maximum number of body voxels that windows are drawn around."""


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan.

    Parameters
    ----------
    name, modality
        ``PATIENT/SCAN`` and its modality.
    array
        (Z, Y, X): mean 0 and standard deviation 1 in the body; a memory map.
    body
        (Z, Y, X), 1 inside; a memory map.
    places
        Voxels of the body (N, 3), a random part of them.
    knots
        Intensity of air and the ``QUANTILES`` of the body, rising [SD of the body].
    mean, sd
        Of the body in the units of the network [network units]; 0 and 1 for a CT, which has none.
    """

    name: str
    modality: Modality
    array: NDArray[np.float32]
    body: NDArray[np.uint8]
    places: NDArray[np.int64]
    knots: tuple[float, ...]
    mean: float
    sd: float


def open_scan(
    name: str,
    scan: Path,
    body: Path,
    *,
    spacing_mm: Triple,
    scaling: SourceScaling,
    scratch: Path,
    seed: int,
) -> Scan:
    """Resample and scale a stored scan once; a resumed run reuses it from ``scratch``.

    A CT is clipped to ``CT_WINDOW_HU``; any other scan is scaled by ``scaling`` first.

    Raises
    ------
    DataError
        ``mask-empty``, ``intensity-constant``, or the grid is too thin.
    """
    folder = scratch / "scans" / name.replace("/", "_")
    facts = folder / "facts.json"
    if not facts.is_file():
        write_whole(facts, canonical_json(_prepare(scan, body, folder, spacing_mm, scaling)))
    found = json.loads(facts.read_text())
    array, mask = (np.load(folder / f"{kind}.npy", mmap_mode="r") for kind in ("scan", "body"))
    places = np.argwhere(mask)
    if len(places) > PLACES:
        rng = generator(seed, "places", name)
        places = places[np.sort(rng.choice(len(places), PLACES, replace=False))]
    modality, knots = Modality(found["modality"]), tuple(found["knots"])
    return Scan(name, modality, array, mask, places, knots, found["mean"], found["sd"])


def _prepare(
    scan: Path, body: Path, folder: Path, spacing_mm: Triple, scaling: SourceScaling
) -> dict[str, Any]:
    volume, mask = read_volume(scan), read_volume(body)
    grid = working_grid(mask, spacing_mm, MARGIN_MM)
    values = resample(volume, grid, outside=float(volume.array.min())).array
    inside = resample(mask, grid, outside=0, nearest=True).array > 0
    if not inside.any():
        raise mask_empty("the body mask", "the scan")
    scaled, mean, sd = _scaled(volume, values, inside, scaling)
    folder.mkdir(parents=True, exist_ok=True)
    for kind, array in (("scan", scaled), ("body", inside.astype(np.uint8))):
        part = folder / f".{kind}.npy"
        np.save(part, array)
        os.replace(part, folder / f"{kind}.npy")
    knots = [float(scaled.min()), *np.quantile(scaled[inside], QUANTILES).tolist()]
    apart = 1e-3 * np.arange(len(knots))  # quantiles coincide if large regions are constant
    rising = (np.maximum.accumulate(np.asarray(knots)) + apart).tolist()
    return {"modality": str(volume.modality), "mean": mean, "sd": sd, "knots": rising}


def _scaled(
    volume: Volume, values: NDArray[Any], inside: NDArray[np.bool_], scaling: SourceScaling
) -> tuple[NDArray[np.float32], float, float]:
    """Mean 0 and standard deviation 1 in the body, and both in network units."""
    standard = SourceScaling(kind="zscore_in_mask")
    if volume.modality is Modality.CT:
        clipped = np.clip(values.astype(np.float32), *CT_WINDOW_HU)
        return fit_source(clipped, inside, standard)(clipped), 0.0, 1.0
    network = fit_source(values, inside, scaling)(values)
    part = network[inside].astype(np.float64)
    mean, sd = float(part.mean()), float(part.std())
    return fit_source(network, inside, standard)(network), mean, sd
