"""How far a run has come."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

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
