"""Cost of training in arithmetic operations: exact, and the same on every machine.

Times depend on the machine and do not belong in an output; a benchmark measures them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.flop_counter import FlopCounterMode

from synthct.data.files import canonical_json, write_whole
from synthct.data.temporary import temporary_folder
from synthct.tasks.training.fit import fit
from synthct.tasks.training.params import Source

PRICE = "price.json"

SHORT, LONG = 4, 12
"""Steps of two runs: the difference excludes start-up, validation and the end."""


def price(
    *,
    out: Path,
    scratch: Path,
    source: Source,
    seed: int,
    params: Mapping[str, Any],
    split: Mapping[str, Any],
    regions: Mapping[str, str],
    **files: Path,
) -> None:
    """Unit: write ``price.json``, the floating-point operations per training step.

    Convolutions and matrix products of all forward and backward passes of a step are counted,
    including extra passes of a regularizer. Element-wise operations are not, so a penalty on
    weights alone appears to be free.
    """
    counts = {}
    for steps in (SHORT, LONG):
        run = {**params, "steps": steps, "validation_every": LONG, "checkpoint_every": LONG + 1}
        run |= {name: {**run[name], "steps": None} for name in ("mr", "cbct") if name in run}
        with temporary_folder("price", scratch) as inside:
            (inside / "scratch").mkdir()
            with FlopCounterMode(display=False) as counter:
                fit(
                    out=inside,
                    scratch=inside / "scratch",
                    source=source,
                    fold=0,
                    seed=seed,
                    params=run,
                    split=split,
                    regions=regions,
                    weights=None,
                    interpolate=False,
                    **files,
                )
            counts[steps] = counter.get_total_flops()
    per_step = (counts[LONG] - counts[SHORT]) / (LONG - SHORT)
    write_whole(out / PRICE, canonical_json({"flops_per_step": per_step}))
