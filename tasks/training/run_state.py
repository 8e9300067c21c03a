"""The state of a training run: progress and checkpoints."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from synthct.tasks.pipeline.events import emit


@dataclass
class Progress:
    """Progress of a run: the content of a checkpoint besides weights."""

    step: int = 0
    """Number of completed steps."""
    sums: dict[str, float] = field(default_factory=dict)
    """Terms summed since the last row of the history."""
    summed: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_mae_hu: float = math.inf
    best_step: int = 0
    pieces: int = 1
    """Parts into which a batch is divided because it does not fit the device."""
    remarks: list[str] = field(default_factory=list)
    """Deviations of the run from the params."""

    def remark(self, unit: str, text: str) -> None:
        """Add a remark, once, and emit it as an event."""
        if text not in self.remarks:
            self.remarks.append(text)
            emit("note", stage="training", text=f"{unit}: {text}")


NAME = "checkpoint.pt"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write the checkpoint atomically: a reader sees the old one or the new one."""
    for stale in folder.glob(f".{NAME}.*"):
        stale.unlink()
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{NAME}.")
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / NAME)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The last checkpoint; None if it is absent or damaged, so that training starts again.

    Only tensors and plain values are loaded; code in the file is not executed.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        return None
    return state
