"""TensorBoard event files, for those who like to watch: outside every out, only when asked."""

from __future__ import annotations

import os
from pathlib import Path

from synthct.data.environment import TENSORBOARD
from synthct.tasks.training.loop import Watcher


def board(unit: str) -> list[Watcher]:
    """A watcher that writes the numbers of a run to ``$SYNTHCT_TENSORBOARD/UNIT``, or none."""
    folder = os.environ.get(TENSORBOARD)
    if not folder:
        return []
    from torch.utils.tensorboard.writer import SummaryWriter

    writer = SummaryWriter(str(Path(folder) / unit))  # type: ignore[no-untyped-call]

    def write(step: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)  # type: ignore[no-untyped-call]
        writer.flush()  # type: ignore[no-untyped-call]

    return [write]
