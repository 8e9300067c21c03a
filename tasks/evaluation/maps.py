"""Error maps of a synthetic CT, to overlay on the scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthct.data.files import whole_folder
from synthct.data.volume import Modality, Volume
from synthct.data.writers import write_image
from synthct.tasks.evaluation.dose.beams import GANTRY_DEG, path_error_map_mm
from synthct.tasks.evaluation.dose.curves import ELECTRON_DENSITY, STOPPING_POWER, curve_from
from synthct.tasks.evaluation.pair import Mask

Nodes = Sequence[tuple[float, float]]


def write_maps(
    folder: Path,
    reference: Volume,
    prediction: Volume,
    inside: Mask,
    *,
    electron_density: Nodes = (),
    stopping_power: Nodes = (),
) -> list[str]:
    """Write the maps of one pair on its grid, 0 outside the mask; returns their file names.

    ``error_hu.mha`` is prediction - reference [HU]; ``surrogate_wepl_PARTICLE_ANGLE_mm.mha`` is
    the error of the water-equivalent path length from the entrance of the beam to the voxel [mm],
    for photons (electron density) and protons (stopping power) at 0, 90, 180 and 270 degrees.
    The folder is written atomically and replaces an existing one.

    Parameters
    ----------
    reference, prediction
        CTs [HU] on one grid.
    inside
        Mask (Z, Y, X) inside which scores are computed; air outside has no density.
    electron_density, stopping_power
        The clinic's nodes (HU, value relative to water); empty: the generic curves.
    """
    curves = {
        "photon": curve_from("electron density", tuple(electron_density), ELECTRON_DENSITY),
        "proton": curve_from("stopping power", tuple(stopping_power), STOPPING_POWER),
    }
    known, guess = (ct.array.astype(np.float64) for ct in (reference, prediction))
    with whole_folder(folder) as building:
        names = [_written(building, "error_hu", np.where(inside, guess - known, 0), reference)]
        for particle, curve in curves.items():
            true, made = (curve(hu) * inside for hu in (known, guess))
            for angle in GANTRY_DEG:
                error = path_error_map_mm(true, made, reference.grid.spacing_mm, angle)
                name = f"surrogate_wepl_{particle}_{angle:03.0f}_mm"
                names.append(_written(building, name, np.where(inside, error, 0), reference))
    return names


def _written(folder: Path, name: str, values: NDArray[np.float64], like: Volume) -> str:
    """As float32, and not marked as a CT, although the unit may be HU."""
    write_image(folder / f"{name}.mha", like.with_array(values.astype(np.float32), Modality.MR))
    return f"{name}.mha"
