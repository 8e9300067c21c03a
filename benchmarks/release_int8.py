"""Error, size and time of 8-bit networks on the demo."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from synthct.data.layout import Layout
from synthct.tasks.export.int8 import int8_cost, quantise
from synthct.tasks.export.windows import case_windows
from synthct.tasks.models.sliding import Runner
from synthct.tasks.prediction.release import open_release
from synthct.tasks.prediction.runtime import onnx_runner

ARTEFACTS = Path(os.environ.get("SYNTHCT_ARTEFACTS", str(Layout().artefact("export").parent)))
"""Of the demo (`make run`)."""
WINDOWS = 16
ROUNDS = 3


def measure() -> str:
    """Both kinds for each source, on a case that the fold was not trained on."""
    folds = json.loads((ARTEFACTS / "training" / "folds.json").read_text())
    return "\n".join(
        [
            f"The demo's releases, fold 0, {WINDOWS} windows of an unseen case (digital patients; "
            "real ones may differ). MAE inside the body against the registered CT. Time: minimum "
            f"CPU time of {ROUNDS} runs over the same windows, one thread.",
            "",
            "| source | kind | MAE float [HU] | MAE 8 bits [HU] | cost [HU] | mean change [HU] | "
            "largest [HU] | file / float | time / float |",
            "|---|---|---|---|---|---|---|---|---|",
            *(row for source in sorted(folds) for row in _int8(source, folds[source])),
        ]
    )


def _int8(source: str, folds: list[dict[str, Any]]) -> list[str]:
    release = open_release(ARTEFACTS / "export" / source)
    graph, model = next(iter(release.graphs())), release.model
    windows = case_windows(_case(folds[0]["test"][0]), model, WINDOWS)
    seen = [w for case in folds[0]["train"] for w in case_windows(_case(case), model, 4).inputs]
    exact = onnx_runner(graph)
    rows = []
    for kind in ("dynamic", "static"):
        small = quantise(graph, kind, seen)
        run = onnx_runner(small)
        cost = int8_cost(exact, run, windows, model)
        times = [_least_s(each, windows.inputs) for each in (run, exact)]
        rows.append(
            f"| {source} | {kind} | {cost.mae_float_hu:.1f} | {cost.mae_int8_hu:.1f} | "
            f"{cost.cost_hu:.2f} | {cost.mean_change_hu:.1f} | {cost.largest_change_hu:.0f} | "
            f"{len(small) / len(graph):.2f} | {times[0] / times[1]:.2f} |"
        )
    return rows


def _least_s(run: Runner, inputs: np.ndarray) -> float:
    taken = []
    for _ in range(ROUNDS):
        started = time.process_time()
        run(inputs)
        taken.append(time.process_time() - started)
    return min(taken)


def _case(name: str) -> Path:
    return ARTEFACTS / "registration" / name
