"""Cone-beam projections with their geometry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthct.data.errors import DataError, UsageError
from synthct.data.tomography.cone_beam import ConeBeam
from synthct.data.tomography.views import Views

MIN_VIEWS = 3

MODEL_ERROR = 0.05
"""Standard deviation of line integrals that has other causes than counting."""


@dataclass(frozen=True, eq=False)
class Sinogram:
    """Projections (views, V, U) of one scan.

    Parameters
    ----------
    values
        Line integrals [1] or, with ``open_beam``, detected quanta; float32.
    geometry
        A circular orbit, or the place of source and detector at each view.
    open_beam
        Quanta that a pixel detects without a patient; None: ``values`` are line integrals.

    Raises
    ------
    DataError
        ``too-few-views``; ``other-shape``: geometry and values disagree; ``not-finite``;
        ``negative-counts``.
    UsageError
        ``open-beam``: it is not a positive number.
    """

    values: NDArray[np.float32]
    geometry: ConeBeam | Views
    open_beam: float | None = None

    def __post_init__(self) -> None:
        shape = self.geometry.sinogram_shape
        if self.values.ndim != 3 or self.values.shape != shape:
            raise DataError(
                f"the projections have the shape {self.values.shape}, the geometry {shape}",
                rule="the geometry has one entry per view, and pixels (V, U) as the projections",
                remedy="give the geometry of these projections",
                code="other-shape",
            )
        if shape[0] < MIN_VIEWS:
            raise DataError(
                f"there are {shape[0]} views",
                rule=f"a reconstruction needs at least {MIN_VIEWS} views",
                remedy="give all projections of the scan in one file",
                code="too-few-views",
            )
        wrong = int(self.values.size - np.isfinite(self.values).sum())
        if wrong:
            raise DataError(
                f"{wrong} pixels are NaN or infinite",
                rule="every pixel is a finite number",
                remedy="replace defective pixels by the mean of their neighbours",
                code="not-finite",
            )
        if self.open_beam is not None and not 0 < self.open_beam < float("inf"):
            raise UsageError(
                f"the open beam is {self.open_beam}",
                rule="the open beam is the number of quanta without a patient, above 0",
                code="open-beam",
            )
        if self.open_beam is not None and float(self.values.min()) < 0:
            raise DataError(
                f"the smallest count is {float(self.values.min()):g}",
                rule="counts are at least 0",
                remedy="leave out the open beam if the values are line integrals",
                code="negative-counts",
            )

    @property
    def counts(self) -> Tensor | None:
        """Detected quanta, at least one; None if line integrals were measured."""
        if self.open_beam is None:
            return None
        return torch.from_numpy(np.maximum(self.values, 1.0))

    def lines(self) -> Tensor:
        r"""Line integrals, :math:`-\ln(y / I_0)` where counts were measured."""
        counts = self.counts
        if counts is None or self.open_beam is None:
            return torch.from_numpy(np.ascontiguousarray(self.values))
        return -torch.log(counts / self.open_beam)

    def weights(self, model_error: float = MODEL_ERROR) -> Tensor | None:
        r"""Inverse variances of the line integrals up to a factor, the largest 1.

        The variance of a line integral behind *y* quanta is :math:`1 / y + \epsilon^2`: independent
        contributions of photon noise and of model errors (voxels, scatter, hardening).

        Parameters
        ----------
        model_error
            :math:`\epsilon` [1]. With 0, only photon noise counts; rays through air then outweigh
            those through the patient so much that iterations hardly improve the inside.
        """
        counts = self.counts
        if counts is None or self.open_beam is None:
            return None
        variance = 1 / counts + model_error**2
        return variance.min() / variance

    def every(self, step: int) -> Sinogram:
        """The views 0, ``step``, 2 ``step`` ..."""
        if isinstance(self.geometry, Views):
            fewer: ConeBeam | Views = self.geometry.chosen(slice(None, None, step))
        else:
            from dataclasses import replace

            fewer = replace(self.geometry, angles_rad=self.geometry.angles_rad[::step])
        return Sinogram(np.ascontiguousarray(self.values[::step]), fewer, self.open_beam)


def from_tigre(
    projections: NDArray[Any],
    angles_rad: NDArray[Any],
    *,
    source_axis_mm: float,
    source_detector_mm: float,
    pixel_mm: tuple[float, float],
    open_beam: float | None = None,
) -> Sinogram:
    """A sinogram of TIGRE: projections (views, V, U), rotating from +x towards +y about z.

    TIGRE's source is at +x at angle 0 and its u runs along +y; ``pixel_mm`` is (v, u). In patient
    coordinates its x becomes -y and its y becomes x, so that angle 0 looks from the front.
    """
    beam = ConeBeam(
        tuple(float(angle) for angle in angles_rad), projections.shape[1:], pixel_mm,
        source_axis_mm, source_detector_mm,
    )  # fmt: skip
    return Sinogram(np.ascontiguousarray(projections, np.float32), beam, open_beam)


def from_astra(
    projections: NDArray[Any], vectors: NDArray[Any], *, open_beam: float | None = None
) -> Sinogram:
    """A sinogram of ASTRA's ``cone_vec``: projections (V, views, U), vectors (views, 12).

    Each row has, as (x, y, z), the source, the detector's middle, and the steps along u and v.
    """
    if vectors.ndim != 2 or vectors.shape[1] != 12:
        raise DataError(
            f"the vectors have the shape {vectors.shape}",
            rule="a cone_vec geometry has 12 numbers per view",
            code="other-shape",
        )
    source, middle, along_u, along_v = (
        np.asarray(vectors[:, part : part + 3], np.float64)[:, ::-1] for part in (0, 3, 6, 9)
    )
    rows, _, columns = projections.shape
    corner = middle - along_u * (columns - 1) / 2 - along_v * (rows - 1) / 2
    views = Views(source, corner, along_u, along_v, (rows, columns))
    return Sinogram(
        np.ascontiguousarray(np.moveaxis(projections, 1, 0), np.float32), views, open_beam
    )
