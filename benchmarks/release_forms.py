"""What a release's cheaper forms cost: 8 bits, and the ensemble in one network."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from data.layout import Layout
from tasks.export.distil import distil
from tasks.export.int8 import int8_cost, quantise
from tasks.export.params import DistilParams, ExportParams
from tasks.export.windows import case_windows
from tasks.prediction.release import open_release
from tasks.prediction.runtime import onnx_runner
from tasks.prediction.sliding import Runner

ARTEFACTS = Path(os.environ.get("SYNTHCT_ARTEFACTS", str(Layout().artefact("export").parent)))
"""Of the demo (`make run`)."""
STEPS = 400
WINDOWS = 16
ROUNDS = 3


def measure() -> str:
    """The demo's own networks, on cases that the fold or the student never saw."""
    folds = json.loads((ARTEFACTS / "training" / "folds.json").read_text())
    tasks = sorted(folds)
    rows = [row for task in tasks for row in _int8(task, folds[task])]
    print("\n".join(rows), file=sys.stderr, flush=True)  # the students take minutes
    students = [_student(task, folds[task]) for task in tasks]
    return "\n".join(
        [
            "## 8 bits",
            "",
            f"The demo's releases, fold 0, {WINDOWS} windows of a case that it has not seen "
            "(digital patients: no word on real ones). MAE inside the body against the registered "
            f"CT. Time: the least of {ROUNDS} over the same windows, one thread.",
            "",
            "| task | kind | MAE float [HU] | MAE 8 bits [HU] | cost [HU] | mean change [HU] | "
            "largest [HU] | file / float | time / float |",
            "|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            "## The ensemble in one network (`export.distil`)",
            "",
            f"{STEPS} steps of 8 patches from fold 0's weights, taught by all folds on training "
            "patients; scored on patients that the student never saw and other folds did, so the "
            "cost is rather over- than understated.",
            "",
            "| task | taught on | scored on | MAE ensemble [HU] | MAE student [HU] | cost [HU] | "
            "training [s] |",
            "|---|---|---|---|---|---|---|",
            *students,
        ]
    )


def _int8(task: str, folds: list[dict[str, Any]]) -> list[str]:
    release = open_release(ARTEFACTS / "export" / task)
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
            f"| {task} | {kind} | {cost.mae_float_hu:.1f} | {cost.mae_int8_hu:.1f} | "
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


def _student(task: str, folds: list[dict[str, Any]]) -> str:
    members = [ARTEFACTS / "training" / f"{task}_fold{k}" for k in range(len(folds))]
    params = ExportParams(distil=DistilParams(steps=STEPS))
    seen = sorted({case for fold in folds for case in fold["train"]})
    unseen = [_case(case) for case in folds[0]["test"]]
    with tempfile.TemporaryDirectory(prefix="synthct-bench-") as place:
        out, scratch = Path(place) / "out", Path(place) / "scratch"
        out.mkdir()
        scratch.mkdir()
        started = time.perf_counter()
        made = distil(
            out, members, unseen, [_case(case) for case in seen], params, scratch=scratch, seed=1
        )
        taken_s = time.perf_counter() - started
    return (
        f"| {task} | {made.training_cases} cases | {made.scored_cases} cases | "
        f"{made.mae_ensemble_hu:.1f} | {made.mae_student_hu:.1f} | "
        f"{made.mae_student_hu - made.mae_ensemble_hu:+.1f} | {taken_s:.0f} |"
    )


def _case(name: str) -> Path:
    return ARTEFACTS / "registration" / name


if __name__ == "__main__":
    print(measure())
