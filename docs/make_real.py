"""Tables and pictures of ``docs/benchmarks/real_patients.md``, from finished runs.

    python -m docs.make_real [--from FOLDER]

Reads ``workspaces/NAME`` below FOLDER (default: this repository) for each block ``<!-- KIND NAME
-->`` of the page, as ``synthct run --preset NAME`` or ``synthct study`` leave it; measures nothing.
A block whose run is not there stays as it is.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import spearmanr

from docs.make_study import read_effects
from synthct.data.files import write_whole
from synthct.data.store.volumes import read_volume
from synthct.data.tables import read_table
from synthct.tasks.evaluation.statistics.paired import paired_bootstrap, ratio_of_means
from synthct.tasks.pipeline.artefacts import CT, MASK, SOURCE, UNREGISTERED_CT
from synthct.tasks.report.overlays import BODY_HU, BONE_HU, middle
from synthct.tasks.report.overview import ScoredRow, scores_png
from synthct.tasks.report.strips import read_scene, source_limits
from synthct.tasks.study.params import CONTROL, is_replicate

PAGE = Path(__file__).with_name("benchmarks") / "real_patients.md"
ROOT = PAGE.parents[2]
BLOCK = re.compile(r"(<!-- (\w+) (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
TARGETS = {"lookup": 0.6, "best naive": 0.75}
BONE_DICE = 0.75
DIGITAL = "sts51_digital"
"""Workspace of the study of digital patients with the arms of ``sts51_ablation``."""

Scores = Mapping[str, Mapping[str, Mapping[str, float]]]
"""``{case: {method: {metric: value}}}`` against the registered CT."""


def main() -> int:
    """Write tables and pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--from", dest="root", type=Path, default=ROOT)
    root = parser.parse_args().root / "workspaces"
    kinds: dict[str, tuple[str, Callable[[Path], str]]] = {
        "scores": ("evaluation", _scores_block),
        "patients": ("evaluation", _patients_block),
        "parts": ("evaluation", _parts_block),
        "registration": ("registration", _registration_block),
        "ablation": ("study", _ablation_block),
        "agreement": ("study", lambda real: _agreement_block(real, root / DIGITAL / "artefacts")),
    }

    def filled(block: re.Match[str]) -> str:
        stage, told = kinds[block[2]]
        artefacts = root / block[3] / "artefacts"
        done = artefacts / stage / ("quality.csv" if stage == "registration" else "summary.json")
        text = told(artefacts) if done.is_file() else ""
        return f"{block[1]}\n{text}\n\n{block[4]}" if text else block[0]

    write_whole(PAGE, BLOCK.sub(filled, PAGE.read_text()))
    return 0


def names() -> dict[str, tuple[str, str]]:
    """The collection's name and the site by pseudonym."""
    rows = read_table(ROOT / "presets" / "sts51_folds.csv")
    return {row["patient"]: (row["name"], row["site"]) for row in rows}


def read_scores(artefacts: Path) -> Scores:
    """All scores against the registered CT."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in read_table(artefacts / "evaluation" / "scores.csv"):
        if row["reference"] == "registered":
            methods = found.setdefault(row["case"], {})
            methods.setdefault(row["method"], {})[row["metric"]] = float(row["value"])
    return found


def _of(scores: Scores, method: str, metric: str) -> NDArray[np.float64]:
    """One value a case, in the order of the cases; NaN where undefined."""
    return np.array([scores[c].get(method, {}).get(metric, np.nan) for c in sorted(scores)])


def _scores_block(artefacts: Path) -> str:
    """Means of every method, and the targets with their intervals over patients."""
    scores = read_scores(artefacts)
    methods = ["model", "lookup", "tissue_classes", "constant", "unregistered"]
    if not np.nan_to_num(_of(scores, "unregistered", "mae_hu")).any():
        methods.remove("unregistered")  # the pairs were left as delivered: it is the reference
    lines = ["| method | MAE [HU] | bone Dice | PSNR [dB] | MS-SSIM |", "|---|---|---|---|---|"]
    for method in methods:
        cells = [
            _mean(_of(scores, method, metric), digits)
            for metric, digits in (("mae_hu", 1), ("bone_dice", 3), ("psnr_db", 2), ("ms_ssim", 3))
        ]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    ours = _of(scores, "model", "mae_hu")
    naive = {name: _of(scores, name, "mae_hu") for name in methods[1:4]}
    best = min(naive, key=lambda name: float(naive[name].mean()))
    told = []
    for label, name in (("lookup", "lookup"), ("best naive", best)):
        rng = np.random.default_rng(0)
        ratio = paired_bootstrap(ours, naive[name], ratio_of_means, rng)
        met = "reached" if ratio.value <= TARGETS[label] else "missed"
        shown = label if label == name else f"{label}, here {name}"
        told.append(
            f"* MAE against {shown}: {ratio.value:.2f} ({_ends(ratio.low, ratio.high)}), target "
            f"{TARGETS[label]}: {met}."
        )
    dice = _of(scores, "model", "bone_dice")
    dice = dice[np.isfinite(dice)]
    met = "reached" if dice.mean() >= BONE_DICE else "missed"
    told.append(
        f"* Bone Dice: mean {dice.mean():.2f}, {int((dice >= BONE_DICE).sum())} of {dice.size} "
        f"patients at {BONE_DICE} or more, target {BONE_DICE}: {met}."
    )
    head = f"{len(scores)} patients, each predicted by a network that never saw them."
    return "\n".join([head, "", *lines, "", *told])


def _patients_block(artefacts: Path) -> str:
    """Every patient, worst first, and pictures of the worst, the median and the best."""
    scores, known = read_scores(artefacts), names()
    ranked = sorted(scores, key=lambda case: -scores[case]["model"]["mae_hu"])
    lines = [
        "| patient | site | MAE | lookup | ratio | bone Dice | bone MAE | soft MAE | fat MAE |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in ranked:
        name, site = known[case.removesuffix("_mr")]
        model, table = scores[case]["model"], scores[case]["lookup"]
        cells = [f"{model['mae_hu']:.0f}", f"{table['mae_hu']:.0f}"]
        cells += [f"{model['mae_hu'] / table['mae_hu']:.2f}", _shown(model, "bone_dice", 2)]
        cells += [_shown(model, f"mae_hu_{band}", 0) for band in ("bone", "soft", "fat")]
        lines.append(f"| {name} | {site} | {' | '.join(cells)} |")
    chosen = [ranked[0], ranked[1], ranked[len(ranked) // 2], ranked[-1]]
    rows = []
    for case in chosen:
        scene = read_scene(artefacts / "registration" / case, artefacts / "evaluation" / case)
        label = f"{known[case.removesuffix('_mr')][0]}, {scores[case]['model']['mae_hu']:.0f} HU"
        rows.append(ScoredRow(label, scene, middle(scene.mask, 0)))
    file = ROOT / "docs" / "pictures" / "real_patients_scores.png"
    write_whole(file, scores_png(rows))
    picture = f"![The two worst, the median and the best patient](../pictures/{file.name})"
    return "\n".join(["HU, inside the body.", "", *lines, "", picture])


def error_parts(
    hu: NDArray[np.floating], sct_hu: NDArray[np.floating], mask: NDArray[np.bool_]
) -> dict[str, tuple[float, float]]:
    """How much of the MAE lies in which voxels of the body, and how many these are [%].

    Air is what the registered CT has below ``BODY_HU`` inside the outline of the MR; bone is above
    ``BONE_HU`` in either CT. The parts sum to the MAE [HU] and to 100 %.
    """
    error, count = np.abs(sct_hu - hu), int(mask.sum())
    air = mask & (hu < BODY_HU)
    bone = mask & ~air & ((hu > BONE_HU) | (sct_hu > BONE_HU))
    parts = {"air inside the outline": air, "bone": bone, "all else": mask & ~air & ~bone}
    return {
        name: (float(error[part].sum()) / count, 100 * int(part.sum()) / count)
        for name, part in parts.items()
    }


def _parts_block(artefacts: Path) -> str:
    """Means over patients of :func:`error_parts`."""
    found = []
    for case in sorted(read_scores(artefacts)):
        scene = read_scene(artefacts / "registration" / case, artefacts / "evaluation" / case)
        found.append(error_parts(scene.ct.array * 1.0, scene.sct.array * 1.0, scene.mask))
    lines = ["| voxels | of the body [%] | of the MAE [HU] |", "|---|---|---|"]
    for name in found[0]:
        hu, percent = np.mean([parts[name] for parts in found], axis=0)
        lines.append(f"| {name} | {percent:.1f} | {hu:.1f} |")
    return "\n".join(lines)


def _registration_block(artefacts: Path) -> str:
    """How often the gate passed, and its measures by patient."""
    known = names()
    rows = read_table(artefacts / "registration" / "quality.csv")
    counts = Counter(row["verdict"] for row in rows)
    steps = Counter(row["step"] for row in rows)
    head = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("pass", "suspect", "fail"))
    kept = ", ".join(f"{step} {number}" for step, number in sorted(steps.items()))
    lines = [
        f"{len(rows)} pairs: {head}. Step kept: {kept}.",
        "",
        "| patient | verdict | step | bone darkness | information | edges | body Dice "
        "| moved p95 [mm] | reason |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: known[row["patient"]]):
        moved = f"{float(row['local_p95_mm']):.1f}"
        measures = [
            " → ".join(_plain(row[f"{name}_{when}"], digits) for when in ("before", "after"))
            for name, digits in (
                ("bone_darkness", 2), ("information", 3), ("edges", 3), ("dice", 2),
            )
        ]  # fmt: skip
        cells = [known[row["patient"]][0], row["verdict"], row["step"], *measures, moved]
        lines.append(f"| {' | '.join(cells)} | {row['reason']} |")
    file = ROOT / "docs" / "pictures" / "real_patients_registration.png"
    verdicts = {f"{row['patient']}_mr": row["verdict"] for row in rows}
    write_whole(file, outlines_png(artefacts / "registration", verdicts))
    picture = f"![Outlines of skin and bone on the MR, before and after](../pictures/{file.name})"
    return "\n".join([*lines, "", picture])


def _plain(number: str, digits: int) -> str:
    return f"{float(number):.{digits}f}" if number else "none"


def outlines_png(registration: Path, verdicts: Mapping[str, str], columns: int = 4) -> bytes:
    """Outlines of the CT on a slice of each case's MR, as delivered and as registered."""
    known = names()
    cases = sorted(verdicts, key=lambda case: known[case.removesuffix("_mr")])
    rows = -(-len(cases) // columns)
    figure = Figure(figsize=(4.2 * columns, 2.3 * rows), layout="tight")
    axes = figure.subplots(rows, 2 * columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for number, case in enumerate(cases):
        row, column = divmod(number, columns)
        folder = registration / case
        source, ct = read_volume(folder / SOURCE), read_volume(folder / CT)
        mask = read_volume(folder / MASK).array > 0
        low, high = source_limits(source, mask)
        z = _bony_slice(ct.array, mask)
        delivered = read_volume(folder / UNREGISTERED_CT).array
        for offset, (label, image) in enumerate(
            (("delivered", delivered), (f"registered: {verdicts[case]}", ct.array))
        ):
            axis = axes[row, 2 * column + offset]
            aspect = ct.grid.spacing_mm[1] / ct.grid.spacing_mm[2]
            axis.imshow(source.array[z], cmap="gray", vmin=low, vmax=high, aspect=aspect)
            for level, colour in ((BODY_HU, "tab:cyan"), (BONE_HU, "tab:red")):
                if image[z].min() < level < image[z].max():
                    axis.contour(
                        image[z], [level], colors=colour, linewidths=0.7, linestyles="solid"
                    )
            axis.set_title(f"{known[case.removesuffix('_mr')][0]}, {label}", fontsize=7)
    held = io.BytesIO()
    figure.savefig(held, dpi=90, metadata={"Software": None})
    return held.getvalue()


def _bony_slice(hu: NDArray[np.generic], mask: NDArray[np.bool_]) -> int:
    """A slice with much bone, the upper quartile: the most may be the end of a field of view."""
    bone = ((hu >= BONE_HU) & mask).sum(axis=(1, 2))
    return int(np.argsort(bone)[-max(1, len(bone) // 4)])


def _ablation_block(artefacts: Path) -> str:
    """Paired differences to the control, with intervals over patients."""
    out = artefacts / "study"
    summary = json.loads((out / "summary.json").read_text())
    effects, _ = read_effects(out)
    lines = [
        f"{summary['patients']} patients in {summary['folds']} folds. Negative is better.",
        "",
        "| pairs | arm | control [HU] | difference [HU] | 95 % interval | better in |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(effects, key=lambda row: (row.pairs, row.difference)):
        lines.append(
            f"| {row.pairs} | {row.arm} | {row.control:.1f} | {row.difference:+.1f} | "
            f"{_ends(row.low, row.high, '+.1f')} | {row.better} of {row.cases} |"
        )
    return "\n".join(lines)


def differences(out: Path) -> dict[str, NDArray[np.float64]]:
    """MAE of each arm less that of the control, by test case in the order of names [HU]."""
    found: dict[str, dict[str, float]] = {}
    for row in read_table(out / "trials.csv"):
        if (row["metric"], row["chosen"]) == ("mae_hu", "1") and not is_replicate(row["arm"]):
            found.setdefault(row["arm"], {})[row["case"]] = float(row["value"])
    control = found.pop(CONTROL)
    return {
        arm: np.array([values[case] - control[case] for case in sorted(control)])
        for arm, values in found.items()
        if values.keys() == control.keys()
    }


def rank_agreement(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], *, draws: int = 2000
) -> tuple[float, float, float]:
    """Spearman's rank correlation of the arms' mean differences in two cohorts, and its interval.

    Parameters
    ----------
    ours, theirs
        Difference of each arm to the control in each patient, (arms, patients): the same arms,
        other patients.
    draws
        Bootstrap samples; the patients of both cohorts are drawn with replacement.

    Returns
    -------
    tuple
        Correlation, and the 2.5 % and 97.5 % quantiles of the bootstrap.
    """
    rng = np.random.default_rng(0)

    def drawn(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values[:, rng.integers(values.shape[1], size=values.shape[1])].mean(axis=1)

    value = spearmanr(ours.mean(axis=1), theirs.mean(axis=1)).statistic
    samples = [spearmanr(drawn(ours), drawn(theirs)).statistic for _ in range(draws)]
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(value), float(low), float(high)


def _agreement_block(real: Path, digital: Path) -> str:
    """Mean differences of the arms in both cohorts, and how alike they are ranked."""
    if not (digital / "study" / "summary.json").is_file():
        return ""
    ours, theirs = differences(real / "study"), differences(digital / "study")
    arms = sorted(ours.keys() & theirs.keys(), key=lambda arm: float(ours[arm].mean()))
    matrices = [np.array([table[arm] for arm in arms]) for table in (ours, theirs)]
    value, low, high = rank_agreement(*matrices)
    lines = [
        f"{len(arms)} arms, {matrices[0].shape[1]} real and {matrices[1].shape[1]} digital "
        f"patients: rank correlation {value:+.2f} (95 % interval {low:+.2f} to {high:+.2f}).",
        "",
        "| arm | real [HU] | digital [HU] |",
        "|---|---|---|",
        *(f"| {arm} | {ours[arm].mean():+.1f} | {theirs[arm].mean():+.1f} |" for arm in arms),
    ]
    return "\n".join(lines)


def _mean(values: NDArray[np.float64], digits: int) -> str:
    known = values[np.isfinite(values)]
    return f"{known.mean():.{digits}f}" if known.size else ""


def _shown(values: Mapping[str, float], name: str, digits: int) -> str:
    return f"{values[name]:.{digits}f}" if name in values else ""


def _ends(low: float | None, high: float | None, spec: str = ".2f") -> str:
    return "too few" if low is None or high is None else f"{low:{spec}} to {high:{spec}}"


if __name__ == "__main__":
    sys.exit(main())
