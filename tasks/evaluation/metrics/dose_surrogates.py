"""Dose surrogates: effect of the HU errors along beams, without a dose engine."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from synthct.tasks.evaluation.dose.beams import (
    GANTRY_DEG,
    path_errors_mm,
    radiograph_mm,
    range_errors_mm,
    seen_from,
)
from synthct.tasks.evaluation.dose.curves import (
    ELECTRON_DENSITY,
    STOPPING_POWER,
    HuCurve,
    curve_from,
)
from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.pair import Floats, MaskedPair, Measured

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
        photons, protons = self._curves()
        paths: list[Floats] = []
        ranges: list[Floats] = []
        drr: list[Floats] = []
        for angle in self.gantry_deg:
            inside = seen_from(pair.mask, pair.spacing_mm, angle, nearest=True)
            known, guess = (
                seen_from(photons(hu) * pair.mask, pair.spacing_mm, angle)
                for hu in (pair.reference, pair.prediction)
            )
            paths.append(path_errors_mm(known, guess, inside))
            known, guess = (
                seen_from(protons(hu) * pair.mask, pair.spacing_mm, angle)
                for hu in (pair.reference, pair.prediction)
            )
            ranges.append(range_errors_mm(known, guess, inside))
            drr.append(self._radiograph_error(pair, angle))
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

    @staticmethod
    def _radiograph_error(pair: MaskedPair, angle: float) -> Floats:
        known, guess = (
            radiograph_mm(hu, pair.spacing_mm, angle) for hu in (pair.reference, pair.prediction)
        )
        lit = seen_from(pair.mask, pair.spacing_mm, angle, nearest=True).values.any(axis=1)
        return np.asarray((guess - known)[lit])


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if values.size else None


def _p95(values: Floats) -> float | None:
    return float(np.percentile(np.abs(values), 95)) if values.size else None
