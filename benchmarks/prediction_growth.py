"""Time and memory of a prediction, from file to file, by number of slices."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.prediction import DEMO, NETWORKS, SLICES, run

ROUNDS = 1
PLOT = Path("docs/benchmarks/prediction_growth.png")


def measure() -> str:
    """Least CPU seconds of the rounds by slices, and a line through them."""
    options = NETWORKS[DEMO]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run("release", folder, options)
        got: dict[int, dict[str, float]] = {}
        for _ in range(ROUNDS):
            for count in SLICES:
                new = run(f"file:{count}", folder, options)
                got[count] = {key: min(new[key], got.get(count, new)[key]) for key in new}
    seconds = [got[count]["cpu_s"] for count in SLICES]
    walls = [got[count]["wall_s"] for count in SLICES]
    peaks = [got[count]["peak_mib"] for count in SLICES]
    per_slice, start = np.polyfit(SLICES, seconds, 1)
    memory, base = np.polyfit(SLICES, peaks, 1)
    fitted = per_slice * np.array(SLICES) + start
    worst = float(np.abs(fitted / np.array(seconds) - 1).max())
    _plot(seconds, peaks, (per_slice, start), (memory, base))
    rows = [
        f"| {n} | {s:.1f} | {w:.1f} | {p:.0f} |"
        for n, s, w, p in zip(SLICES, seconds, walls, peaks, strict=True)
    ]
    return "\n".join(
        [
            "256 x 256 voxels per slice, one fold, no flips; including the check of the release, "
            "the body outline, resampling and writing. The network is that of the page "
            f"[prediction](prediction.md). Minimum of {ROUNDS} round{'s' * (ROUNDS > 1)}. The line "
            "is fitted to CPU seconds, which other load on the machine affects less than wall "
            "time.",
            "",
            "| slices | CPU [s] | wall [s] | peak memory of the process [MiB] |",
            "|---|---|---|---|",
            *rows,
            "",
            f"The line {start:.1f} s + {1000 * per_slice:.0f} ms per slice deviates by at most "
            f"{worst:.0%}. Memory: {base:.0f} MiB + {memory:.2f} MiB per slice "
            f"({memory * 2**20 / 65536:.0f} bytes per voxel of the scan).",
            "",
            f"![time and memory against slices]({PLOT.name})",
        ]
    )


def _plot(seconds: list[float], peaks: list[float], time_line: Any, memory_line: Any) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3), layout="constrained")
    ends = np.array([0, max(SLICES)])
    for axis, values, line, label in (
        (axes[0], seconds, time_line, "CPU [s]"),
        (axes[1], peaks, memory_line, "peak memory [MiB]"),
    ):
        axis.plot(ends, np.polyval(line, ends), color="0.7")
        axis.plot(SLICES, values, "o", color="tab:blue")
        axis.set(xlabel="slices of 256 x 256", ylabel=label, ylim=(0, None), xlim=(0, None))
        axis.spines[["top", "right"]].set_visible(False)
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, dpi=110, metadata={"Software": None})
