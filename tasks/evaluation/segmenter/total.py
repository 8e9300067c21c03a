"""TotalSegmentator, where the user has installed it: its own command, as a child, on one CT.

The package is no dependency: install it into its own environment and put its command on ``PATH``.
Code is Apache-2.0; the weights are the user's to fetch, and those of some of its sources (not of
``total``, which is used here) need a licence of their own. Nothing is downloaded here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import MachineError, UsageError
from synthct.data.files import file_sha256
from synthct.data.readers import read_scan
from synthct.data.temporary import temporary_folder
from synthct.data.volume import Modality, Volume
from synthct.data.writers import write_image

COMMAND = "TotalSegmentator"

WEIGHTS_FOLDERS = ("TOTALSEG_WEIGHTS_PATH", "TOTALSEG_HOME_DIR")
"""Variables that say where the weights are; else ``~/.totalsegmentator``."""


def require_total_segmentator() -> Path:
    """The command; a fault of the user where it or its weights are missing."""
    command = shutil.which(COMMAND)
    if command is None:
        raise UsageError(
            "evaluation.segmenter totalsegmentator needs its command on PATH",
            where="evaluation.segmenter",
            got=f"no {COMMAND}",
            remedy="install TotalSegmentator in an environment of its own and put its command on "
            "PATH, or choose small or thresholds",
            code="segmenter-missing",
        )
    folders = _weights_folders()
    if not any(folder.is_dir() and any(folder.rglob("*.pth")) for folder in folders):
        raise UsageError(
            "TotalSegmentator's weights are the user's: they are on this machine beforehand",
            where=str(folders[0]),
            got="no weights (*.pth)",
            remedy="run `totalseg_download_weights -t total` once, or set TOTALSEG_WEIGHTS_PATH",
            code="segmenter-no-weights",
        )
    return Path(command)


def identity() -> str:
    """Hash of the command's file and of its weights' names and sizes: another one answers anew."""
    command = require_total_segmentator()
    weights = sorted(
        (path.relative_to(folder).as_posix(), path.stat().st_size)
        for folder in _weights_folders()
        for path in folder.rglob("*.pth")
    )
    told = json.dumps([file_sha256(command), weights])
    return hashlib.sha256(told.encode()).hexdigest()


def _weights_folders() -> list[Path]:
    told = [Path(os.environ[name]) for name in WEIGHTS_FOLDERS if os.environ.get(name)]
    return told or [Path.home() / ".totalsegmentator"]


def total_segmentator(ct: Volume, *, fast: bool = True) -> tuple[NDArray[np.uint8], dict[str, str]]:
    """Label map (Z, Y, X) of a CT [HU], and ``{"1": name}`` of the structures it found."""
    command = require_total_segmentator()
    with temporary_folder("segment") as temporary:
        scan, found = temporary / "ct.nii.gz", temporary / "found"
        write_image(scan, ct)
        order = [str(command), "-i", str(scan), "-o", str(found), *(["--fast"] if fast else [])]
        child = subprocess.run(order, capture_output=True, text=True, check=False)
        if child.returncode:
            words = child.stderr.strip().splitlines()
            raise _failed(words[-1] if words else f"exit code {child.returncode}")
        labels, names = np.zeros(ct.array.shape, np.uint8), dict[str, str]()
        for value, path in enumerate(sorted(found.glob("*.nii.gz")), 1):
            mask = read_scan(path, Modality.MASK)
            if not mask.grid.is_close(ct.grid):
                raise _failed(f"{path.name} on another grid than the CT")
            labels[mask.array > 0] = value
            names[str(value)] = path.name.removesuffix(".nii.gz")
    return labels, names


def _failed(got: str) -> MachineError:
    return MachineError(
        "TotalSegmentator ends without an error and answers on the CT's grid",
        where=COMMAND,
        got=got,
        remedy="run it by hand on the same CT",
        code="segmenter-failed",
    )
