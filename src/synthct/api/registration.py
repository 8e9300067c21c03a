"""``synthct.register``: register one scan to another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthct.api.arguments import PathLike, Scan, as_path, modality_of, scan_files
from synthct.data.volume import Displacement, Modality, Volume


@dataclass(frozen=True, eq=False)
class Registration:
    """A registered pair.

    Parameters
    ----------
    moved
        The moving scan on the grid of the fixed one; a CT as int16 [HU].
    displacement
        Fixed points ``x`` correspond to moving points ``x + u(x)`` [mm, LPS].
    quality
        Content of ``quality.json``: the verdict, and the settings and quality of each step.
    """

    moved: Volume
    displacement: Displacement
    quality: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """``pass``; ``suspect``: inspect it; ``fail``: the result is the best earlier step."""
        return str(self.quality["verdict"])


def register(
    fixed: Scan,
    moving: Scan,
    *,
    out: PathLike | None = None,
    fixed_mask: Scan | None = None,
    moving_mask: Scan | None = None,
    fixed_modality: Modality | str | None = None,
    moving_modality: Modality | str | None = None,
    fixed_series: str = "",
    moving_series: str = "",
    initial: Sequence[PathLike] = (),
    method: str = "elastix_mi",
    method_options: Mapping[str, Any] | None = None,
    preset: str | None = None,
    region: str = "other",
    seed: int = 0,
    threads: int = 1,
    progress: Callable[[str], None] | None = None,
) -> Registration:
    """Register a CT to an MR or cone-beam CT, rigidly, then deformably, and grade the result.

    Parameters
    ----------
    fixed
        MR or cone-beam CT; the result is on its grid.
    moving
        CT that is moved onto it.
    out
        Folder for ``moved.mha``, ``displacement.mha``, ``quality.json``, the ITK transform and
        ``before_after.png``. It is written completely or not at all; a folder with other content
        is never replaced.
    fixed_mask, moving_mask
        Body masks (> 0) on the grids of their scans; by default segmented by a threshold.
    fixed_modality, moving_modality
        Modality of a file that does not state it (NIfTI, MHA, NRRD).
    fixed_series, moving_series
        Number, description or UID, if a DICOM folder or zip holds several series.
    initial
        Rigid ITK transforms (fixed -> moving points) to start from; of several, the one with the
        highest mutual information is used.
    method, method_options
        Name in ``synthct.METHODS`` of the deformable method, and its parameters.
    preset
        Name of the settings; by default those for the modality and region.
    region
        ``head-neck``, ``thorax``, ``abdomen`` or ``other``.
    seed, threads
        The result is reproducible to the byte for given values.
    progress
        Called with each step as it starts: ``read``, ``rigid``, ``deformable``, ``gate``,
        ``write``.

    Returns
    -------
    Registration
        The moved CT, the displacement and the quality, in memory.

    Raises
    ------
    DataError
        The scans are damaged, too small, or show no common part of the patient.
    UsageError
        A name, a parameter or a folder is wrong; raised before any scan is read.

    Examples
    --------
    >>> import synthct
    >>> found = synthct.register(
    ...     "mr.nii.gz", "ct.nii.gz", fixed_modality="MR", moving_modality="CT", region="abdomen"
    ... )
    >>> found.moved.grid == synthct.read("mr.nii.gz", "MR").grid
    True
    >>> found.verdict in ("pass", "suspect", "fail")
    True
    >>> sorted(found.quality["steps"])
    ['deformable', 'identity', 'rigid']
    """
    from synthct.tasks.registration.pair import register_files

    with scan_files() as files:
        made = register_files(
            files.path(fixed, "fixed"),
            files.path(moving, "moving"),
            fixed_mask=files.perhaps(fixed_mask, "fixed_mask", Modality.MASK),
            moving_mask=files.perhaps(moving_mask, "moving_mask", Modality.MASK),
            fixed_modality=modality_of(fixed, fixed_modality, "fixed"),
            moving_modality=modality_of(moving, moving_modality, "moving"),
            series=(fixed_series, moving_series),
            initial=[as_path(path) for path in initial],
            method=method,
            method_options=method_options,
            preset=preset,
            region=region,
            out=as_path(out),
            seed=seed,
            threads=threads,
            progress=progress,
        )
    return Registration(made.moved, made.displacement, made.quality)
