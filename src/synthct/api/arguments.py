"""What a caller gives, as what the tasks take: paths, modalities, files of volumes in memory."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias, overload

from synthct.data.errors import SynthctError, UsageError
from synthct.data.temporary import temporary_folder
from synthct.data.volume import Modality, Volume

PathLike: TypeAlias = str | os.PathLike[str]
Scan: TypeAlias = str | os.PathLike[str] | Volume
"""A file or folder of a readable format, or a volume in memory."""


@overload
def as_path(given: PathLike) -> Path: ...
@overload
def as_path(given: PathLike | None) -> Path | None: ...
def as_path(given: PathLike | None) -> Path | None:
    """The path with ``~`` opened, or None."""
    return None if given is None else Path(given).expanduser()


@overload
def as_modality(given: Modality | str, where: str) -> Modality: ...
@overload
def as_modality(given: Modality | str | None, where: str) -> Modality | None: ...
def as_modality(given: Modality | str | None, where: str) -> Modality | None:
    """``"mr"``, ``"MR"`` or ``Modality.MR`` as a modality."""
    if given is None:
        return None
    try:
        return Modality(str(given).upper())
    except ValueError:
        names = [str(known) for known in Modality]
        near = difflib.get_close_matches(str(given).upper(), names, n=1)
        raise UsageError(
            f"a modality is one of {', '.join(names)}",
            problem=f"no modality is called {given!r}",
            where=where,
            remedy=f"did you mean {near[0]!r}?" if near else "",
            code="unknown-modality",
        ) from None


class ScanFiles:
    """Files of what was given; see :func:`scan_files`."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._folder: Path | None = None
        self._names: dict[str, str] = {}

    def folder(self) -> Path:
        """The private folder, made when it is first needed."""
        if self._folder is None:
            self._folder = self._stack.enter_context(temporary_folder("scan"))
        return self._folder

    def path(self, scan: Scan, name: str, *modalities: Modality) -> Path:
        """The file of a scan; ``modalities`` are those that a volume may have (none: any)."""
        if not isinstance(scan, Volume):
            return as_path(scan)
        if modalities and scan.modality not in modalities:
            raise UsageError(
                f"{name} is a volume of modality {' or '.join(modalities)}",
                problem=f"the volume has modality {scan.modality}",
                where=name,
                remedy="give another volume, or say what its voxels measure when you make it",
                code="wrong-modality",
            )
        from synthct.data.writers import write_image

        # MetaImage keeps every voxel type and the place exactly, and is written at disk speed.
        file = self.folder() / f"{name}.mha"
        write_image(file, scan, compress=False)
        self._names[str(file)] = f"{name} (a volume in memory)"
        return file

    def perhaps(self, scan: Scan | None, name: str, *modalities: Modality) -> Path | None:
        """:meth:`path` of what may not be given."""
        return None if scan is None else self.path(scan, name, *modalities)

    def several(self, scans: Iterable[Scan], name: str, *modalities: Modality) -> tuple[Path, ...]:
        """:meth:`path` of each, numbered from 1."""
        return tuple(
            self.path(scan, f"{name}-{number}", *modalities) for number, scan in enumerate(scans, 1)
        )

    def rename(self, error: SynthctError) -> None:
        """Name the arguments in place of files that only we know of."""
        for file, name in self._names.items():
            error.rename(file, name)


@contextlib.contextmanager
def scan_files() -> Iterator[ScanFiles]:
    """Volumes in memory as files in a private folder that goes with the block, however it ends.

    There is one way into the tasks, by file: the same reading in a confined process, the same
    checks and the same hashes in reports, whether a scan lies on disk or in memory. The folder
    lies under ``$TMPDIR``, only its owner can look into it, and what a killed process left is
    removed by the next one.
    """
    with contextlib.ExitStack() as stack:
        files = ScanFiles(stack)
        try:
            yield files
        except SynthctError as error:
            files.rename(error)
            raise


def modality_of(scan: Scan, given: Modality | str | None, name: str) -> Modality | None:
    """What a scan measures: a volume knows it, a file may have to be told."""
    asked = as_modality(given, f"{name}_modality")
    if not isinstance(scan, Volume):
        return asked
    if asked not in (None, scan.modality):
        raise UsageError(
            "a volume says itself what its voxels measure",
            problem=f"the volume has modality {scan.modality}, {asked} was asked for",
            where=f"{name}_modality",
            remedy="leave it out",
            code="modality-contradicted",
        )
    return scan.modality
