"""Tables of scores: by region and method, ratios, registration bias, structures and HU bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from synthct.tasks.figures.names import MEASURES, method_name, reference_name, source_name
from synthct.tasks.figures.numbers import digits_for, fixed, mean_sd
from synthct.tasks.report.reading import Score
from synthct.tasks.report.table import Cell, Column, Table
from synthct.tasks.report.views.scores import (
    MAE,
    methods_of,
    pick,
    references_of,
    regions_of,
    values,
)

FLOOR = "floor_mae_hu"
"""Metric: difference of the reference itself between alignments."""

HEADINGS = {**MEASURES, FLOOR: ("reference moves", "HU")}

EVERYWHERE = "all regions"
"""Name of the rows over all cases."""


def score_table(scores: Sequence[Score], source: str) -> Table:
    """Image metrics by region and method, one group of columns, with its n, per reference."""
    regions = regions_of(scores)
    if len(regions) > 1:
        regions = [*regions, EVERYWHERE]
    shown = {r: _measures_of(pick(scores, reference=r)) for r in references_of(scores)}
    shown = {reference: metrics for reference, metrics in shown.items() if metrics}
    if "registered" in shown and pick(scores, metric=FLOOR):
        at = shown["registered"].index(MAE) + 1 if MAE in shown["registered"] else 0
        shown["registered"].insert(at, FLOOR)
    columns, groups = [Column("Region"), Column("Method")], [("", 2)]
    for reference, metrics in shown.items():
        columns += [Column("n", numeric=True)]
        columns += [Column(*HEADINGS[metric], numeric=True) for metric in metrics]
        groups.append((reference_name(reference), 1 + len(metrics)))
    digits = {m: digits_for(values(pick(scores, metric=m))) for m in MEASURES}
    digits |= {"me_hu": digits["mae_hu"], FLOOR: digits["mae_hu"], "ms_ssim": 3, "ssim_2023": 3}
    rows: list[Sequence[Cell]] = []
    for region in regions:
        rows += _region(_within(scores, region), region, shown, digits)
    caption = f"{source_name(source)}: mean ± standard deviation over n patients"
    return Table(caption, columns, rows, groups)


def _measures_of(scores: Sequence[Score]) -> list[str]:
    found = {score.metric for score in scores}
    return [metric for metric in MEASURES if metric in found]


def _within(scores: Sequence[Score], region: str) -> list[Score]:
    return list(scores) if region == EVERYWHERE else pick(scores, region=region)


def _region(
    scores: Sequence[Score],
    region: str,
    shown: Mapping[str, Sequence[str]],
    digits: Mapping[str, int],
) -> list[list[Cell]]:
    rows = []
    for number, method in enumerate(methods_of(s for s in scores if s.metric in MEASURES)):
        cells = [Cell(region if number == 0 else "", "head")]
        cells.append(Cell(method_name(method), "name"))
        for reference, metrics in shown.items():
            here = pick(scores, reference=reference)
            cells += _means(here, method, metrics, digits)
        rows.append(cells)
    return rows


def _means(
    scores: Sequence[Score], method: str, metrics: Sequence[str], digits: Mapping[str, int]
) -> list[Cell]:
    """The number of patients, then each metric's mean, for one method and reference."""
    lines = pick(scores, method=method)
    cells = [Cell(str(len({s.patient for s in lines if s.metric in MEASURES})) if lines else "")]
    for metric in metrics:
        if metric == FLOOR:  # belongs to the reference, not to a method
            cells.append(Cell(mean_sd(values(pick(scores, metric=FLOOR)), digits[FLOOR]) or "–"))
            continue
        found = values(pick(lines, metric=metric))
        kind = "best" if _best(scores, metric) == method else ""
        cells.append(Cell(mean_sd(found, digits[metric]) or "–", kind))
    return cells


_BETTER = {"mae_hu": min, "psnr_db": max, "ms_ssim": max, "ssim_2023": max}


def _best(scores: Sequence[Score], metric: str) -> str | None:
    """The best method of the column; none for ME, which is a bias, not an error."""
    lines = pick(scores, metric=metric)
    means = {m: float(np.mean(values(pick(lines, method=m)))) for m in methods_of(lines)}
    for name in ("registered", "ceiling"):  # references scored for comparison, not methods
        means.pop(name, None)
    if metric not in _BETTER or len(means) < 2:
        return None
    return _BETTER[metric](means, key=lambda method: means[method])


PARTS = {
    "dice_": ("Dice of structures", 2),
    "surface_dice_": ("Surface Dice of structures", 2),
    "hd95_mm_": ("95th centile Hausdorff distance of structures [mm]", 1),
    "completeness": ("Completeness by structure class, 1 is complete", 2),
    "volume_change_percent_": ("Change of the volume of structures [%]", 0),
    "surrogate_": ("Dose surrogates: path length, proton range, radiograph; no dose [mm]", 2),
    "source_": ("Agreement with the source scan itself, without any CT", 2),
    "structure_mae_hu_": ("MAE inside structures [HU]", 0),
    "structure_me_hu_": ("ME inside structures [HU]", 0),
    "mae_hu_": ("MAE by HU band of the reference [HU]", 0),
    "me_hu_": ("ME by HU band of the reference [HU]", 0),
}
"""Metrics by structure or band: prefix, caption, decimals."""


def part_tables(scores: Sequence[Score]) -> list[Table]:
    """A table for each metric by structure or band."""
    return [
        _part_table([s for s in scores if s.metric.startswith(prefix)], prefix, caption, digits)
        for prefix, (caption, digits) in PARTS.items()
        if any(score.metric.startswith(prefix) for score in scores)
    ]


def _part_table(lines: Sequence[Score], prefix: str, caption: str, digits: int) -> Table:
    names = sorted({score.metric for score in lines})
    pairs = [(m, r) for m in methods_of(lines) for r in references_of(pick(lines, method=m))]
    columns = [Column("Method"), Column("Reference"), Column("n", numeric=True)]
    columns += [Column(_part(n, prefix), numeric=True) for n in names]
    rows = []
    for method, reference in pairs:
        found = pick(lines, method=method, reference=reference)
        cells = [Cell(method_name(method)), Cell(SHORT.get(reference, reference))]
        cells.append(Cell(str(len({score.patient for score in found}))))
        cells += [Cell(mean_sd(values(pick(found, metric=n)), digits) or "–") for n in names]
        rows.append(cells)
    return Table(f"{caption}; – if no patient has it", columns, rows)


def _part(metric: str, prefix: str) -> str:
    return metric.removeprefix(prefix).replace("_", " ").strip() or "all"


SHORT = {"registered": "registered CT", "truth": "true CT", "source": "source scan"}
"""Short names of references, for cells."""


def ratio_table(ratios: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table | None:
    """The model's mean MAE over each baseline's, with its bootstrap interval if there is one."""
    names = sorted({name for entries in ratios.values() for name in entries})
    if not names:
        return None
    references = sorted(ratios, key=lambda name: name != "registered")
    columns = [Column("Model’s MAE over that of")]
    columns += [Column(reference_name(name), numeric=True) for name in references]
    rows = []
    for name in names:
        method = name.removeprefix("model_over_")
        cells = [Cell(_ratio(ratios[reference].get(name))) for reference in references]
        rows.append([Cell(method_name(method)), *cells])
    caption = "Ratio of mean errors, below 1 is better than the baseline [95 % interval over cases]"
    return Table(caption, columns, rows)


def _ratio(entry: Mapping[str, float] | None) -> str:
    if not entry:
        return "–"
    text = f"{fixed(entry['value'], 2)} (n = {entry['n']:.0f})"
    if "low" not in entry or "high" not in entry:
        return text
    return text.replace(" ", f" [{fixed(entry['low'], 2)}, {fixed(entry['high'], 2)}] ", 1)


def bias_table(scores: Sequence[Score]) -> Table | None:
    """MAE of the same outputs against the registered and the true CT, paired by case."""
    lines = pick(scores, metric=MAE)
    pairs = [(m, *_paired(pick(lines, method=m))) for m in methods_of(lines)]
    pairs = [pair for pair in pairs if pair[1]]
    if not pairs:
        return None
    digits = digits_for([value for _, first, second in pairs for value in (*first, *second)])
    columns = [
        Column("Method"), Column("n", numeric=True),
        Column("MAE, registered CT", "HU", numeric=True),
        Column("MAE, true CT", "HU", numeric=True),
        Column("Registered − true", "HU", numeric=True),
    ]  # fmt: skip
    rows = [
        [
            Cell(method_name(method)),
            Cell(str(len(first))),
            Cell(mean_sd(first, digits)),
            Cell(mean_sd(second, digits)),
            Cell(_signed(np.subtract(first, second).tolist(), digits)),
        ]
        for method, first, second in pairs
    ]
    return Table("Registration bias: the same output against both references", columns, rows)


def _paired(lines: Sequence[Score]) -> tuple[list[float], list[float]]:
    """MAE of the cases that have both references, registered and true, in the same order."""
    registered = {s.case: s.value for s in pick(lines, reference="registered")}
    truth = {s.case: s.value for s in pick(lines, reference="truth")}
    both = sorted(registered.keys() & truth.keys())
    return [registered[case] for case in both], [truth[case] for case in both]


def _signed(numbers: Sequence[float], digits: int) -> str:
    text = mean_sd(numbers, digits)
    above = float(fixed(float(np.mean(numbers)), digits).replace("−", "-")) > 0
    return f"+{text}" if above else text
