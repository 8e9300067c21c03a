"""TotalSegmentator on one CT, run as a child process if the user has installed it.

The package is not a dependency: install it into its own environment and put its command on
``PATH``. Its code is Apache-2.0. The user downloads the weights; those of some of its tasks (not
of ``total``, which is used here) need a licence of their own. Nothing is downloaded here.
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
"""Environment variables with the folder of the weights; default ``~/.totalsegmentator``."""


def require_total_segmentator() -> Path:
    """Path of the command; :class:`UsageError` if it or its weights are missing."""
    command = shutil.which(COMMAND)
    if command is None:
        raise UsageError(
            f"there is no command {COMMAND} on PATH",
            rule="the segmenter totalsegmentator runs TotalSegmentator's own command",
            where="evaluation.segmenter",
            remedy="install TotalSegmentator in an environment of its own and put its command on "
            "PATH, or choose small or thresholds",
            code="segmenter-missing",
        )
    folders = _weights_folders()
    if not any(folder.is_dir() and any(folder.rglob("*.pth")) for folder in folders):
        raise UsageError(
            "there are no weights (*.pth) of TotalSegmentator",
            rule="the weights must be on this machine beforehand: nothing is downloaded "
            "during a run",
            where=str(folders[0]),
            remedy="run `totalseg_download_weights -t total` once, or set TOTALSEG_WEIGHTS_PATH",
            code="segmenter-no-weights",
        )
    return Path(command)


def identity() -> str:
    """Hash of the command's file and of its weights' names and sizes, for the cache key."""
    command = require_total_segmentator()
    weights = sorted(
        (path.relative_to(folder).as_posix(), path.stat().st_size)
        for folder in _weights_folders()
        for path in folder.rglob("*.pth")
    )
    text = json.dumps([file_sha256(command), weights])
    return hashlib.sha256(text.encode()).hexdigest()


def _weights_folders() -> list[Path]:
    folders = [Path(os.environ[name]) for name in WEIGHTS_FOLDERS if os.environ.get(name)]
    return folders or [Path.home() / ".totalsegmentator"]


def total_segmentator(ct: Volume, *, fast: bool = True) -> tuple[NDArray[np.uint8], dict[str, str]]:
    """Label map (Z, Y, X) of a CT [HU], and ``{"1": name}`` of the structures found.

    Raises
    ------
    UsageError
        TotalSegmentator or its weights are not installed.
    MachineError
        It ends with an error, or its masks lie on another grid.
    """
    command = require_total_segmentator()
    with temporary_folder("segment") as temporary:
        scan, found = temporary / "ct.nii.gz", temporary / "found"
        write_image(scan, ct)
        order = [str(command), "-i", str(scan), "-o", str(found), *(["--fast"] if fast else [])]
        child = subprocess.run(order, capture_output=True, text=True, check=False)
        if child.returncode:
            lines = child.stderr.strip().splitlines()
            last = lines[-1] if lines else f"exit code {child.returncode}"
            raise _failed(f"TotalSegmentator ended with an error: {last}")
        labels, names = np.zeros(ct.array.shape, np.uint8), dict[str, str]()
        for value, path in enumerate(sorted(found.glob("*.nii.gz")), 1):
            mask = read_scan(path, Modality.MASK)
            if not mask.grid.is_close(ct.grid):
                raise _failed(f"{path.name} lies on another grid than the CT")
            labels[mask.array > 0] = value
            names[str(value)] = path.name.removesuffix(".nii.gz")
    return labels, names


def _failed(problem: str) -> MachineError:
    return MachineError(
        problem,
        where=COMMAND,
        remedy="run it by hand on the same CT",
        code="segmenter-failed",
    )
