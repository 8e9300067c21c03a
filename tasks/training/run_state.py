"""The state of a training run: its progress, and checkpoints that survive a kill."""

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
    """How far a run has come: everything a checkpoint holds besides weights."""

    step: int = 0
    """Steps done."""
    sums: dict[str, float] = field(default_factory=dict)
    """Terms summed since the last row of the history."""
    summed: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_mae_hu: float = math.inf
    best_step: int = 0
    pieces: int = 1
    """Parts into which a batch is cut because it does not fit the device as a whole."""
    remarks: list[str] = field(default_factory=list)
    """What a reader of the result must know."""

    def remark(self, unit: str, text: str) -> None:
        """Keep a remark, once, and say it."""
        if text not in self.remarks:
            self.remarks.append(text)
            emit("note", stage="training", text=f"{unit}: {text}")


NAME = "checkpoint.pt"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write beside, sync, rename: a reader sees the old checkpoint or the new one."""
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
    """The last checkpoint, or nothing: absent, or damaged by the disk (then start over).

    Only tensors and plain values are read; no code in the file is run.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        return None
    return state
