"""From projections to an image in HU; implements ``synthct reconstruct``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthct.data.errors import UsageError
from synthct.data.tomography.cone_beam import ConeBeam
from synthct.data.tomography.fdk import field_of_view, reconstruct
from synthct.data.tomography.projector import Backend, Projector
from synthct.data.tomography.sinogram import MODEL_ERROR, Sinogram
from synthct.data.volume import Grid, Modality, Triple, Volume
from synthct.tasks.reconstruction.base import Problem
from synthct.tasks.reconstruction.extent import modelled
from synthct.tasks.reconstruction.flicking import flicked
from synthct.tasks.reconstruction.methods import RECONSTRUCTION_METHODS
from synthct.tasks.reconstruction.solve import Iteration, Solution, solve
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, seams_of
from synthct.tasks.regularization.image.graph_laplacian import GraphLaplacian
from synthct.tasks.regularization.image.total_variation import (
    GuidedTotalVariation,
    ImageTotalVariation,
)

FDK = "fdk"
"""The analytic method, which needs no iterations."""

OUTSIDE_HU = -1000.0
"""Value outside the field of view of a circular orbit."""

WATER_PER_MM = 0.02
"""Attenuation of water in a hardened beam of 100 to 125 kV (mean energy 60 to 65 keV)."""

GUIDE_STRENGTH_MM = 0.3
"""Strength of the total variation that smooths a guide [mm]."""

Tell = Callable[[Iteration, float], None]


@dataclass(frozen=True)
class Settings:
    """How an image is reconstructed.

    Parameters
    ----------
    method, method_options
        ``fdk`` or a name in ``RECONSTRUCTION_METHODS``, and its parameters.
    prior, prior_options
        Name of a regularizer with an image prior, and its parameters; "": none.
    weight
        Strength of the prior [mm for total variation, 1 for wavelets].
    iterations, tolerance_hu
        Maximum number of iterations; stop when the image changes by less (root mean square).
    window
        Cut-off of FDK's Hann window, as a fraction of the detector's Nyquist frequency.
    water_per_mm
        Attenuation that becomes 0 HU [1/mm].
    model_error
        Standard deviation of line integrals that has other causes than counting, where counts were
        measured; 0: rays are weighted by their photons alone.
    flicking
        Whether line integrals are denoised first, by a network trained on their conjugate rays.
        ``spiral`` uses the counts without denoising.
    """

    method: str = "fista"
    method_options: Mapping[str, Any] | None = None
    prior: str = "image_total_variation"
    prior_options: Mapping[str, Any] | None = None
    weight: float = 0.005
    iterations: int = 40
    tolerance_hu: float = 0.5
    window: float = 1.0
    water_per_mm: float = WATER_PER_MM
    model_error: float = MODEL_ERROR
    flicking: bool = False


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """The result, the first image (FDK if available) and the history.

    Parameters
    ----------
    image, first
        Volumes [HU].
    solution
        None for ``fdk``.
    residual
        Root mean square difference of projected image and measured line integrals, per view.
    """

    image: Volume
    first: Volume
    solution: Solution | None
    residual: tuple[float, ...]


def usual_grid(sinogram: Sinogram, spacing_mm: Triple | None, shape: Any = None) -> Grid:
    """A grid around the isocentre that covers the field of view of a circular orbit.

    Raises
    ------
    UsageError
        ``no-grid``: the orbit is not a circle, and shape and spacing are not given.
    """
    beam = sinogram.geometry
    if not isinstance(beam, ConeBeam):
        if spacing_mm is None or shape is None:
            raise UsageError(
                "the size of the image is not known",
                rule="spacing and shape must be given for an orbit that is not a circle",
                where="--shape",
                remedy="give --spacing and --shape",
                code="no-grid",
            )
        centre: Triple = (0.0, 0.0, 0.0)
    else:
        zoom = beam.source_axis_mm / beam.source_detector_mm
        fine = max(beam.pixel_mm) * zoom
        spacing_mm = spacing_mm or (fine, fine, fine)
        half_v, half_u = (
            float(beam.offsets_mm(axis).abs().max()) + beam.pixel_mm[axis] / 2 for axis in (0, 1)
        )
        radius = beam.source_axis_mm * math.sin(math.atan(half_u / beam.source_detector_mm))
        sizes = (2 * half_v * zoom, 2 * radius, 2 * radius)
        shape = shape or tuple(
            max(2, math.ceil(size / step)) for size, step in zip(sizes, spacing_mm, strict=True)
        )
        centre = beam.isocentre_mm
    origin = tuple(
        middle - (count - 1) / 2 * step
        for middle, count, step in zip(centre, shape, spacing_mm, strict=True)
    )
    return Grid(tuple(shape), spacing_mm, origin)  # type: ignore[arg-type]


def prior_of(settings: Settings, *, where: str = "--prior") -> Regularizer:
    """The prior by name.

    Raises
    ------
    UsageError
        ``no-image-prior``: the regularizer does not act on images.
    """
    if not settings.prior:
        return Regularizer()
    prior = REGULARIZERS.build(settings.prior, settings.prior_options or {}, where=where)
    if "image" not in seams_of(type(prior)):
        able = [
            name for name in REGULARIZERS.names() if "image" in seams_of(REGULARIZERS.get(name))
        ]
        raise UsageError(
            f"the regularizer {settings.prior!r} is not a prior for images",
            rule=f"a prior acts at image: {', '.join(able)}",
            where=where,
            code="no-image-prior",
        )
    return prior


def reconstruct_sinogram(
    sinogram: Sinogram,
    grid: Grid,
    settings: Settings,
    *,
    progress: Tell | None = None,
    folder: Path | None = None,
    backend: Backend = "auto",
) -> Reconstruction:
    """Reconstruct an image (Z, Y, X) [HU] on ``grid``.

    Iterative methods model a larger box where the rays cross more than ``grid`` (see ``extent``);
    its outer part is discarded.

    Parameters
    ----------
    progress
        Called after each iteration with its row and the seconds that are left at most.
    folder
        For checkpoints; see :func:`solve`.
    backend
        Of the projector and FDK.

    Raises
    ------
    UsageError
        A name, a parameter or the geometry does not fit the method.
    DataError
        ``diverged``.
    """
    lines, beam, water = sinogram.lines(), sinogram.geometry, settings.water_per_mm
    if water <= 0:
        raise UsageError(
            f"the attenuation of water is {water} per mm",
            rule="it is above 0, and 0.017 to 0.03 for X-rays of 40 to 100 keV",
            where="--water-per-mm",
            code="bad-parameter",
        )
    prior = prior_of(settings)
    if settings.flicking:
        lines = _denoised(lines, beam)
    if settings.method == FDK or not isinstance(beam, ConeBeam) or not _upright(grid):
        modelled_grid, (start, stop) = grid, ((0, 0, 0), grid.shape)
    else:
        modelled_grid, (start, stop) = modelled(grid, beam, lines)
    projector = Projector(modelled_grid, beam, backend=backend)
    first = _first(lines, modelled_grid, beam, settings, backend)
    if settings.method == FDK:
        if not isinstance(beam, ConeBeam):
            raise UsageError(
                "the orbit is not a circle",
                rule="fdk reconstructs from circles and arcs with a still detector",
                where="--method",
                remedy=f"take one of {', '.join(RECONSTRUCTION_METHODS.names())}",
                code="not-circular",
            )
        image, solution = first, None
    else:
        method = RECONSTRUCTION_METHODS.build(
            settings.method, settings.method_options or {}, where="--method"
        )
        if isinstance(prior, GuidedTotalVariation | GraphLaplacian):
            prior = _guided(prior, first, modelled_grid)
        problem = Problem(
            projector, lines, water, sinogram.weights(settings.model_error), prior,
            settings.weight if settings.prior and method.uses_prior else 0.0,
            sinogram.counts, sinogram.open_beam or 0.0,
        )  # fmt: skip
        solution = solve(
            problem, method, first, iterations=settings.iterations,
            tolerance_hu=settings.tolerance_hu, progress=progress, folder=folder,
        )  # fmt: skip
        image = solution.image
    difference = projector.forward(image) * water - lines
    residual = difference.square().mean(dim=(1, 2)).sqrt().tolist()
    wanted = tuple(slice(*ends) for ends in zip(start, stop, strict=True))
    return Reconstruction(
        _in_hu(image[wanted], grid, beam), _in_hu(first[wanted], grid, beam), solution,
        tuple(residual),
    )  # fmt: skip


def _upright(grid: Grid) -> bool:
    return bool(np.allclose(grid.direction, np.eye(3)))


def _denoised(lines: Tensor, beam: Any) -> Tensor:
    if not isinstance(beam, ConeBeam):
        raise UsageError(
            "the orbit is not a circle",
            rule="flicking needs a full circle of equal steps",
            where="--flicking",
            remedy="leave out --flicking",
            code="no-conjugates",
        )
    return flicked(lines, beam, seed=0)


def _first(lines: Tensor, grid: Grid, beam: Any, settings: Settings, backend: Backend) -> Tensor:
    """The FDK image, relative to water; zeros if FDK does not support the geometry."""
    if not isinstance(beam, ConeBeam):
        return torch.zeros(grid.shape)
    try:
        found = reconstruct(lines, grid, beam, window=settings.window, backend=backend)
    except ValueError as error:
        if settings.method == FDK:
            raise UsageError(
                str(error), rule="fdk needs a full circle, or a half circle and the fan",
                where="--method", code="not-circular",
            ) from error  # fmt: skip
        return torch.zeros(grid.shape)
    return found / settings.water_per_mm


def _guided(prior: GuidedTotalVariation | GraphLaplacian, first: Tensor, grid: Grid) -> Regularizer:
    smoother = ImageTotalVariation(iterations=50)
    guide = smoother.prox(first[None, None], grid.spacing_mm, GUIDE_STRENGTH_MM)
    return prior.guided(guide, grid.spacing_mm)


def _in_hu(image: Tensor, grid: Grid, beam: Any) -> Volume:
    hu = 1000 * (image - 1)
    if isinstance(beam, ConeBeam):
        hu = torch.where(field_of_view(grid, beam), hu, OUTSIDE_HU)
    return Volume(hu.numpy().astype(np.float32), grid, Modality.CBCT)
