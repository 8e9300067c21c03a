"""Error of a network distilled from the ensemble, on the demo (`export.distil`)."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from synthct.data.layout import Layout
from synthct.tasks.export.distil import distil
from synthct.tasks.export.params import DistilParams, ExportParams

ARTEFACTS = Path(os.environ.get("SYNTHCT_ARTEFACTS", str(Layout().artefact("export").parent)))
"""Of the demo (`make run`)."""
STEPS = 300


def measure() -> str:
    """A student of each source's folds."""
    folds = json.loads((ARTEFACTS / "training" / "folds.json").read_text())
    return "\n".join(
        [
            f"{STEPS} steps of 8 patches from fold 0's weights, taught by all folds on training "
            "patients. The scored patients were not seen by the student but by other folds of the "
            "ensemble, so the difference is an upper estimate.",
            "",
            "| source | taught on | scored on | MAE ensemble [HU] | MAE student [HU] | cost [HU] | "
            "training [s] |",
            "|---|---|---|---|---|---|---|",
            *(_student(source, folds[source]) for source in sorted(folds)),
        ]
    )


def _student(source: str, folds: list[dict[str, Any]]) -> str:
    members = [ARTEFACTS / "training" / f"{source}_fold{k}" for k in range(len(folds))]
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
        f"| {source} | {made.training_cases} cases | {made.scored_cases} cases | "
        f"{made.mae_ensemble_hu:.1f} | {made.mae_student_hu:.1f} | "
        f"{made.mae_student_hu - made.mae_ensemble_hu:+.1f} | {taken_s:.0f} |"
    )


def _case(name: str) -> Path:
    return ARTEFACTS / "registration" / name
