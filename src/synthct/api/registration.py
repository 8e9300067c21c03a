"""``synthct.register``: move one scan onto another."""

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
        The verdict, the figures of each step and how they were made: ``quality.json``.
    """

    moved: Volume
    displacement: Displacement
    quality: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """``pass``; ``suspect``: look at it; ``fail``: the best earlier step stands."""
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
    """Move a CT onto an MR or cone-beam CT, rigidly, then deformably, and judge the result.

    Parameters
    ----------
    fixed
        MR or cone-beam CT: its grid stays.
    moving
        CT: it is moved.
    out
        Folder to write as well: ``moved.mha``, ``displacement.mha``, ``quality.json``, the ITK
        transform that it names and ``before_after.png``. It appears whole; a folder that holds
        something else is never replaced.
    fixed_mask, moving_mask
        Bodies (> 0) on the voxels of their scans; found by threshold where not given.
    fixed_modality, moving_modality
        What a file that does not say it (NIfTI, MHA, NRRD) measures.
    fixed_series, moving_series
        Number, description or UID, where a folder or zip of DICOM holds several series.
    initial
        Rigid ITK transforms (fixed -> moving points) to begin with; of several, the most
        informative is taken.
    method, method_options
        Name in ``synthct.METHODS`` of the deformable step, and its parameters.
    preset
        Name of the settings; by default the published ones for modality and region.
    region
        ``head-neck``, ``thorax``, ``abdomen`` or ``other``.
    seed, threads
        The same pair of numbers gives the same bytes.
    progress
        Told each step as it starts: ``read``, ``rigid``, ``deformable``, ``gate``, ``write``.

    Returns
    -------
    Registration
        In memory, with ``out`` or without.

    Raises
    ------
    DataError
        The scans are damaged, too small, or show no common part of the patient.
    UsageError
        A name, a parameter or a folder is wrong: told before any scan is read.

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
