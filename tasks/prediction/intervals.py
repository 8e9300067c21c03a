"""Conformal intervals of a release, applied to a new scan: low, high and untrusted voxels."""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.special import ndtri

from synthct.data.section import Section

CALIBRATION = "calibration.json"
"""File of a release; absent in releases of older versions, and with too few calibration
patients."""

ALL = "all"
"""Key for all bands together."""


class CalibratedBand(Section):
    """Half-width of one HU band of the prediction, and its coverage on held-out patients."""

    low_hu: float
    """Least HU of the band."""
    high_hu: float
    """First HU above it."""
    half_width_hu: float | None = Field(ge=0, allow_inf_nan=False)
    """Null: no finite half-width reaches the nominal coverage."""
    cases: int = Field(ge=0)
    """Number of calibration cases with voxels in the band."""
    own: bool
    """Whether the band has its own calibration; if too few cases contain it, its half-width is that
    of all bands together."""
    covered: float | None = Field(ge=0, le=1, allow_inf_nan=False)
    """Share covered in held-out patients by half-widths from all others; null: too few patients."""
    covered_low: float | None = Field(ge=0, le=1, allow_inf_nan=False)
    """Lower end of the 95 % interval of the coverage over patients; null for fewer than five."""
    covered_high: float | None = Field(ge=0, le=1, allow_inf_nan=False)


class Calibration(Section):
    """``calibration.json``: half-widths from patients that the networks had not seen."""

    format: Literal[1] = 1
    nominal: float = Field(gt=0, lt=1)
    """Nominal coverage of the half-widths."""
    guarantee: Literal["mean", "risk_control"]
    reference: Literal["registered", "truth"]
    """CT that errors were measured against."""
    patients: int = Field(ge=1)
    cases: int = Field(ge=1)
    spread_factor: float | None = Field(gt=0, allow_inf_nan=False)
    """Multiple of the standard deviation over flips that covered the nominal share; null: the
    evaluation measured no spread."""
    bands: dict[str, CalibratedBand]
    """By name, and ``all`` for every band together."""

    @model_validator(mode="after")
    def _covers_every_hu(self) -> Calibration:
        if ALL not in self.bands:
            raise ValueError(f"bands: {ALL!r} is missing")
        ends = sorted((band.low_hu, band.high_hu) for name, band in self._parts())
        for low, high in ends:
            if low >= high:
                raise ValueError(f"bands: low_hu {low:g} is not below high_hu {high:g}")
        if any(a[1] != b[0] for a, b in itertools.pairwise(ends)) or not ends:
            raise ValueError("bands: they overlap or leave HU out")
        return self

    def _parts(self) -> list[tuple[str, CalibratedBand]]:
        return sorted(
            ((name, band) for name, band in self.bands.items() if name != ALL),
            key=lambda item: item[1].low_hu,
        )

    @property
    def sentence(self) -> str:
        """Nominal coverage and number of calibration patients, in one sentence."""
        found = self.bands[ALL].covered
        reached = "" if found is None else f", which covered {100 * found:.1f} % on held-out ones"
        return (
            f"intervals of nominal {100 * self.nominal:g} % coverage, calibrated on "
            f"{self.patients} patients against the {self.reference} CT{reached}; they hold for "
            "scans like those"
        )

    def half_widths(self, hu: NDArray[Any]) -> NDArray[np.float32]:
        """Half-width [HU] of each predicted HU, by its band; infinite where none is known."""
        parts = self._parts()
        widths = np.array([_width(band) for _, band in parts], np.float32)
        return widths[self._band(hu)]

    def interval(
        self, hu: NDArray[np.int16], low_hu: float, high_hu: float
    ) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        r"""Ends :math:`\hat y \mp q_{b(\hat y)}` [HU], rounded outwards and clipped.

        Parameters
        ----------
        hu
            Synthetic CT [HU], any shape.
        low_hu, high_hu
            Output range of the networks [HU]; no end lies beyond it, unless the prediction does.
        """
        value = hu.astype(np.float32)
        width = self.half_widths(hu)
        low = np.minimum(np.maximum(np.floor(value - width), low_hu), value)
        high = np.maximum(np.minimum(np.ceil(value + width), high_hu), value)
        return low.astype(np.int16), high.astype(np.int16)

    def untrusted(
        self, hu: NDArray[np.int16], sd_hu: NDArray[Any] | None, high_hu: float
    ) -> NDArray[np.bool_]:
        r"""Voxels with an unreliable interval.

        * Their band has no calibration of its own, or no finite half-width.
        * The prediction is the highest output of the networks: the true value may be higher.
        * The networks disagree by more than the interval allows: :math:`k \sigma > q_b`, where
          :math:`k` is the recalibrated factor of the spread, else the normal quantile
          :math:`\Phi^{-1}((1 + p)/2)`.

        Parameters
        ----------
        hu
            Synthetic CT [HU].
        sd_hu
            Standard deviation over networks and flips [HU], same shape; None: not known.
        """
        own = np.array([band.own for _, band in self._parts()])
        width = self.half_widths(hu)
        found = ~own[self._band(hu)] | ~np.isfinite(width)
        found |= hu >= high_hu
        if sd_hu is not None:
            found |= self.factor * sd_hu > width
        return np.asarray(found)

    @property
    def factor(self) -> float:
        """Multiple of the spread that corresponds to the nominal coverage."""
        normal = float(ndtri((1 + self.nominal) / 2))
        return normal if self.spread_factor is None else self.spread_factor

    def _band(self, hu: NDArray[Any]) -> NDArray[np.int64]:
        """Band index of each value; values beyond the first or last band belong to that band."""
        inner = np.array([band.low_hu for _, band in self._parts()][1:])
        return np.asarray(np.searchsorted(inner, hu, side="right"))


def _width(band: CalibratedBand) -> float:
    return math.inf if band.half_width_hu is None else band.half_width_hu
