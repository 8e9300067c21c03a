"""``synthct.reconstruct``: cone-beam projections to an image in HU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from synthct.api.arguments import PathLike, as_path

if TYPE_CHECKING:
    from synthct.data.tomography.sinogram import Sinogram
    from synthct.tasks.reconstruction.job import Reconstruction
    from synthct.tasks.reconstruction.solve import Iteration


def reconstruct(
    projections: PathLike | Sinogram,
    geometry: PathLike | None = None,
    *,
    out: PathLike | None = None,
    method: str = "fista",
    method_options: Mapping[str, Any] | None = None,
    prior: str = "image_total_variation",
    prior_options: Mapping[str, Any] | None = None,
    weight: float = 0.005,
    iterations: int = 40,
    tolerance_hu: float = 0.5,
    open_beam: float | None = None,
    view_step: int = 1,
    spacing_mm: tuple[float, float, float] | None = None,
    shape: tuple[int, int, int] | None = None,
    window: float = 1.0,
    water_per_mm: float = 0.02,
    model_error: float = 0.05,
    flicking: bool = False,
    progress: Callable[[Iteration, float], None] | None = None,
) -> Reconstruction:
    """Reconstruct a cone-beam CT from its projections.

    Parameters
    ----------
    projections, geometry
        An image stack (u, v, view) with RTK's geometry file, or a ``Sinogram`` in memory.
    out
        Folder for ``cbct.nii.gz``, ``history.csv``, ``reconstruction.json`` and ``report.html``;
        needs files as input.
    method, method_options
        ``fdk`` or a name in ``synthct.RECONSTRUCTION_METHODS``, and its parameters.
    prior, prior_options, weight
        Name of a regularizer that acts at ``image`` ("": none), its parameters and its strength.
    iterations, tolerance_hu
        At most so many; stop when an iteration changes the image by less (root mean square) [HU].
    open_beam
        Quanta of the open beam, if the projections are counts; else they are line integrals.
    view_step
        Use every N-th view only.
    spacing_mm, shape
        Of the image (z, y, x); by default the detector's resolution and field of view.
    window
        Cut-off of the filter of FDK, which also gives the first image, as a fraction of Nyquist.
    water_per_mm
        Attenuation that becomes 0 HU [1/mm].
    model_error
        Standard deviation of line integrals that has other causes than counting; with counts, rays
        weigh as the inverse of both variances together.
    flicking
        Denoise the line integrals of a full circle first, by a network trained on conjugate rays.
    progress
        Called after each iteration with its row of the history and the seconds left at most.

    Returns
    -------
    Reconstruction
        ``image`` and ``first`` [HU], ``solution`` with the history, ``residual`` of each view.

    Raises
    ------
    DataError
        The files are damaged or do not fit each other.
    UsageError
        A name or a parameter is wrong, or the geometry does not fit the method.

    Examples
    --------
    >>> import numpy as np, synthct
    >>> from synthct.data.tomography.cone_beam import ConeBeam, full_circle
    >>> from synthct.data.tomography.sinogram import Sinogram
    >>> beam = ConeBeam(full_circle(8), detector_shape=(4, 6), pixel_mm=(10.0, 10.0))
    >>> air = Sinogram(np.zeros(beam.sinogram_shape, np.float32), beam)
    >>> made = synthct.reconstruct(
    ...     air, method="fdk", shape=(2, 4, 4), spacing_mm=(5.0, 5.0, 5.0)
    ... )
    >>> made.image.unit, float(made.image.array.max())
    ('HU', -1000.0)
    """
    from synthct.data.errors import UsageError
    from synthct.data.tomography.sinogram import Sinogram
    from synthct.tasks.reconstruction.files import reconstruct_files
    from synthct.tasks.reconstruction.job import Settings, reconstruct_sinogram, usual_grid

    settings = Settings(
        method, method_options, prior, prior_options, weight, iterations, tolerance_hu, window,
        water_per_mm, model_error, flicking,
    )  # fmt: skip
    if isinstance(projections, Sinogram):
        sinogram = projections.every(view_step) if view_step > 1 else projections
        grid = usual_grid(sinogram, spacing_mm, shape)
        return reconstruct_sinogram(sinogram, grid, settings, progress=progress)
    if geometry is None:
        raise UsageError(
            "there is no geometry",
            rule="projections in a file come with RTK's geometry file",
            where="geometry",
            code="no-geometry",
        )
    return reconstruct_files(
        as_path(projections), as_path(geometry), as_path(out), settings, open_beam=open_beam,
        view_step=view_step, spacing_mm=spacing_mm, shape=shape, progress=progress,
    )  # fmt: skip
