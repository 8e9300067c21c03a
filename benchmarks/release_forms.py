"""Size, time and error of smaller forms of the demo's networks (`export.shrink`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from synthct.data.layout import Layout
from synthct.tasks.export.form_cost import mae_by_tissue
from synthct.tasks.export.graph import export_graph
from synthct.tasks.export.int8 import quantise
from synthct.tasks.export.shrink import SHRINKERS, Calibration
from synthct.tasks.export.windows import case_windows
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.prediction.runtime import onnx_runner
from synthct.tasks.training.runner import load_network

ARTEFACTS = Path(os.environ.get("SYNTHCT_ARTEFACTS", str(Layout().artefact("export").parent)))
"""Of the demo (`make run`)."""
WINDOWS, ROUNDS, OPSET = 16, 3, 18

FORMS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("low_rank", {"energy": 0.999}),
    ("low_rank", {"energy": 0.98}),
    ("merged_channels", {"keep": 0.75}),
    ("merged_channels", {"keep": 0.5}),
    ("weight_bits", {"bits": 8}),
    ("weight_bits", {"bits": 4}),
)

CHILD = """
import json, resource, sys, time
import numpy as np
from synthct.tasks.prediction.runtime import onnx_runner
run, inputs = onnx_runner(open(sys.argv[1], "rb").read()), np.load(sys.argv[2])
taken = []
for _ in range(int(sys.argv[3])):
    started = time.process_time()
    run(inputs)
    taken.append(time.process_time() - started)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": min(taken) / len(inputs), "mib": peak / 1024}))
"""
"""Each graph runs in a process of its own, so that the peak of memory is its own."""


def measure() -> str:
    """Every form for each source, on a case that the fold was not trained on."""
    folds = json.loads((ARTEFACTS / "training" / "folds.json").read_text())
    return "\n".join(
        [
            "The demo's networks, fold 0, which were not trained for any of these forms. "
            f"{WINDOWS} windows of an unseen case (digital patients; real ones may differ). MAE "
            f"inside the body against the registered CT. CPU: minimum of {ROUNDS} rounds, one "
            "thread, for one slice of a window. Memory: the peak of the process.",
            "",
            "| source | form | bytes | / float | CPU s per slice | / float | peak MiB | "
            "MAE all [HU] | air | soft | bone |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
            *(row for source in sorted(folds) for row in _rows(source, folds[source][0])),
        ]
    )


def _rows(source: str, fold: dict[str, Any]) -> list[str]:
    folder = ARTEFACTS / "training" / f"{source}_fold0"
    model = ModelDescription.load(folder / "model.json")
    windows = case_windows(_case(fold["test"][0]), model, WINDOWS)
    seen = [
        window for case in fold["train"] for window in case_windows(_case(case), model, 4).inputs
    ]
    network = load_network(folder)
    calibration = Calibration(model, OPSET, np.stack(seen))
    graphs = {"float": export_graph(network, model, OPSET)}
    for name, options in FORMS:
        shrunk = SHRINKERS.build(name, options).shrink(network, calibration)
        graphs[f"{name}, {', '.join(f'{k} {v}' for k, v in options.items())}"] = shrunk.graph
    graphs["int8, static"] = quantise(graphs["float"], "static", seen)
    rows, reference = [], None
    for name, graph in graphs.items():
        mae = mae_by_tissue(onnx_runner(graph), windows, model)
        cost = _cost(graph, windows.inputs)
        reference = reference or cost
        rows.append(
            f"| {source} | {name} | {len(graph)} | {len(graph) / len(graphs['float']):.2f} | "
            f"{cost['seconds']:.4f} | {cost['seconds'] / reference['seconds']:.2f} | "
            f"{cost['mib']:.0f} | "
            + " | ".join(
                f"{mae[tissue]:.1f}" if tissue in mae else "–"
                for tissue in ("all", "air", "soft", "bone")
            )
            + " |"
        )
    return rows


def _cost(graph: bytes, inputs: np.ndarray) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        file, windows = Path(folder) / "graph.onnx", Path(folder) / "windows.npy"
        file.write_bytes(graph)
        np.save(windows, inputs)
        arguments = [sys.executable, "-c", CHILD, str(file), str(windows), str(ROUNDS)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            arguments, env=environment, check=True, capture_output=True, text=True
        )
    return dict(json.loads(done.stdout))


def _case(name: str) -> Path:
    return ARTEFACTS / "registration" / name
