"""Dose surrogates: effect of the HU errors along beams, without a dose engine."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import find_objects

from synthct.tasks.evaluation.dose.beams import (
    GANTRY_DEG,
    attenuation,
    beam_view,
    path_errors_mm,
    radiograph_mm,
    range_errors_mm,
)
from synthct.tasks.evaluation.dose.curves import (
    ELECTRON_DENSITY,
    STOPPING_POWER,
    HuCurve,
    curve_from,
)
from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.pair import Floats, Mask, MaskedPair, Measured

Nodes = tuple[tuple[float, float], ...]


@METRICS.register("dose_surrogates")
@dataclass(frozen=True)
class DoseSurrogates:
    r"""Errors of path length, proton range and radiograph over a few beams [mm of water, mm].

    With density :math:`\rho(HU)` from a curve, path length
    :math:`W(x) = \int_0^x \rho\,ds` along each beam: ``wepl`` for photons (electron density),
    ``range`` for protons (stopping power; stopping point of a proton aimed at the middle of the
    body), ``drr`` the difference of parallel-beam radiographs. All are **surrogates**: no dose is
    calculated, air outside the mask has no density, and the curves are generic unless given.

    Parameters
    ----------
    gantry_deg
        Beam angles in the axial plane; 0 enters at the front, 90 at the patient's left.
    electron_density, stopping_power
        (HU, value relative to water) nodes; empty: the generic curves.
    """

    gantry_deg: tuple[float, ...] = GANTRY_DEG
    electron_density: Nodes = field(default=())
    stopping_power: Nodes = field(default=())

    def __post_init__(self) -> None:
        if not self.gantry_deg:
            raise ValueError("gantry_deg holds at least one angle [degrees]")
        self._curves()

    def __call__(self, pair: MaskedPair) -> Measured:
        """Measure the pair: seven values, named ``surrogate_...``."""
        box = self._box(pair.mask)
        mask = pair.mask[box]
        images = (pair.reference[box], pair.prediction[box])
        electrons, stopping = ([curve(hu) * mask for hu in images] for curve in self._curves())
        water = [attenuation(hu) for hu in images]
        paths: list[Floats] = []
        ranges: list[Floats] = []
        drr: list[Floats] = []
        for angle in self.gantry_deg:
            inside = beam_view(mask, pair.spacing_mm, angle, nearest=True)
            known, guess = (beam_view(density, pair.spacing_mm, angle) for density in electrons)
            paths.append(path_errors_mm(known, guess, inside))
            known, guess = (beam_view(density, pair.spacing_mm, angle) for density in stopping)
            ranges.append(range_errors_mm(known, guess, inside))
            known, guess = (beam_view(density, pair.spacing_mm, angle) for density in water)
            lit = inside.values.any(axis=1)
            drr.append(np.asarray((radiograph_mm(guess) - radiograph_mm(known))[lit]))
        path, reach, picture = (np.concatenate(part) for part in (paths, ranges, drr))
        return Measured(
            {
                "surrogate_wepl_mae_mm": _mean(np.abs(path)),
                "surrogate_wepl_me_mm": _mean(path),
                "surrogate_wepl_p95_mm": _p95(path),
                "surrogate_range_mae_mm": _mean(np.abs(reach)),
                "surrogate_range_me_mm": _mean(reach),
                "surrogate_range_p95_mm": _p95(reach),
                "surrogate_drr_mae_mm": _mean(np.abs(picture)),
            }
        )

    def _curves(self) -> tuple[HuCurve, HuCurve]:
        photons = curve_from("electron density", self.electron_density, ELECTRON_DENSITY)
        return photons, curve_from("stopping power", self.stopping_power, STOPPING_POWER)

    def _box(self, mask: Mask) -> tuple[slice, ...]:
        """The mask's bounding box; all voxels if a beam is oblique.

        Beams along the array's axes meet no density outside the mask, and lose nothing. An oblique
        beam is interpolated around the middle of the array.
        """
        if any(angle % 90 for angle in self.gantry_deg):
            return (slice(None),) * 3
        return find_objects(mask.astype(np.uint8))[0]


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if values.size else None


def _p95(values: Floats) -> float | None:
    return float(np.percentile(np.abs(values), 95)) if values.size else None
