"""Convert arguments of the API to those of the stages: paths, modalities, temporary files."""

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
    """The path with ``~`` expanded, or None."""
    return None if given is None else Path(given).expanduser()


@overload
def as_modality(given: Modality | str, where: str) -> Modality: ...
@overload
def as_modality(given: Modality | str | None, where: str) -> Modality | None: ...
def as_modality(given: Modality | str | None, where: str) -> Modality | None:
    """Parse ``"mr"``, ``"MR"`` or ``Modality.MR``.

    Raises
    ------
    UsageError
        ``unknown-modality``.
    """
    if given is None:
        return None
    try:
        return Modality(str(given).upper())
    except ValueError:
        names = [str(known) for known in Modality]
        near = difflib.get_close_matches(str(given).upper(), names, n=1)
        raise UsageError(
            f"there is no modality {given!r}",
            rule=f"a modality is one of {', '.join(names)}",
            where=where,
            remedy=f"did you mean {near[0]!r}?" if near else "",
            code="unknown-modality",
        ) from None


class ScanFiles:
    """Paths of scans, which are written to temporary files if needed; see :func:`scan_files`."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._folder: Path | None = None
        self._names: dict[str, str] = {}

    def folder(self) -> Path:
        """The temporary folder, created when it is first needed."""
        if self._folder is None:
            self._folder = self._stack.enter_context(temporary_folder("scan"))
        return self._folder

    def path(self, scan: Scan, name: str, *modalities: Modality) -> Path:
        """Path of a scan; ``modalities`` lists those that a volume may have (none: any).

        Raises
        ------
        UsageError
            ``wrong-modality``.
        """
        if not isinstance(scan, Volume):
            return as_path(scan)
        if modalities and scan.modality not in modalities:
            raise UsageError(
                f"the volume has modality {scan.modality}",
                rule=f"{name} is a volume of modality {' or '.join(modalities)}",
                where=name,
                remedy="give another volume, or set its modality when you create it",
                code="wrong-modality",
            )
        from synthct.data.writers import write_image

        # MetaImage stores every voxel type and the geometry exactly, and is fast to write.
        file = self.folder() / f"{name}.mha"
        write_image(file, scan, compress=False)
        self._names[str(file)] = f"{name} (a volume in memory)"
        return file

    def perhaps(self, scan: Scan | None, name: str, *modalities: Modality) -> Path | None:
        """:meth:`path` of an optional scan."""
        return None if scan is None else self.path(scan, name, *modalities)

    def several(self, scans: Iterable[Scan], name: str, *modalities: Modality) -> tuple[Path, ...]:
        """:meth:`path` of each scan, named with a number from 1."""
        return tuple(
            self.path(scan, f"{name}-{number}", *modalities) for number, scan in enumerate(scans, 1)
        )

    def rename(self, error: SynthctError) -> None:
        """Replace the paths of temporary files in an error by the names of the arguments."""
        for file, name in self._names.items():
            error.rename(file, name)


@contextlib.contextmanager
def scan_files() -> Iterator[ScanFiles]:
    """Write volumes in memory to files in a temporary folder, which is removed after the block.

    The stages read scans from files only, so a scan in memory and one on disk get the same reader
    (in a confined process), the same checks and the same hashes in reports. The folder is under
    ``$TMPDIR`` with mode 0700; the next process removes what a killed one left.
    """
    with contextlib.ExitStack() as stack:
        files = ScanFiles(stack)
        try:
            yield files
        except SynthctError as error:
            files.rename(error)
            raise


def modality_of(scan: Scan, given: Modality | str | None, name: str) -> Modality | None:
    """Modality of a scan: that of a volume, or ``given`` for a file.

    Raises
    ------
    UsageError
        ``unknown-modality``; ``modality-contradicted``: ``given`` differs from the volume's.
    """
    asked = as_modality(given, f"{name}_modality")
    if not isinstance(scan, Volume):
        return asked
    if asked not in (None, scan.modality):
        raise UsageError(
            f"the volume has modality {scan.modality}, not {asked}",
            rule="a volume has a modality of its own",
            where=f"{name}_modality",
            remedy="omit this argument",
            code="modality-contradicted",
        )
    return scan.modality
