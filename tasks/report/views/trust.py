"""Trustworthiness of the scores: checks, out-of-domain scans, floor, coverage, ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthct.tasks.figures.charts import Line, line_chart
from synthct.tasks.figures.names import method_name, reference_name, source_name
from synthct.tasks.figures.numbers import fixed, short
from synthct.tasks.report.reading import Chain
from synthct.tasks.report.table import Cell, Column, Table


@dataclass(frozen=True)
class SourceTrust:
    """Intervals of one source: sentences, tables, and (heading, SVG) charts."""

    source: str
    sentences: Sequence[str]
    tables: Sequence[Table]
    charts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Trust:
    """The section; ``there``: whether the evaluation stage has written ``trust.json``."""

    there: bool
    sentences: Sequence[str]
    suspects: Table | None
    unlike: Table | None
    floor: Table | None
    sources: Sequence[SourceTrust]
    rankings: Sequence[Table]


def trust(chain: Chain) -> Trust:
    """The trust section, from ``trust.json`` and the ranking of ``summary.json``."""
    document = chain.trust
    uncertainty = document.get("uncertainty") or {}
    stable = document.get("stability") or {}
    suspects = document.get("suspects") or []
    return Trust(
        there=bool(document),
        sentences=_sentences(document),
        suspects=_suspects(suspects) if suspects else None,
        unlike=_unlike(document.get("unlike") or {}),
        floor=_floor(document.get("floor") or {}),
        sources=[
            _source(source, uncertainty[source], stable.get(source))
            for source in sorted(uncertainty, reverse=True)
        ],
        rankings=_rankings(chain.summary.get("ranking") or {}),
    )


def _sentences(document: Mapping[str, Any]) -> list[str]:
    if not document:
        return []
    unlike, floors = document["unlike"], document["floor"].values()
    cases = {row["case"] for row in document["suspects"]}
    judged = [case for case, found in unlike.items() if found["unlike"] is not None]
    odd = [case for case in judged if unlike[case]["unlike"]]
    first = (
        f"Every case was checked for scores that are better than the image deserves; "
        f"{len(cases) or 'none'} of the {len(unlike)} cases "
        f"{'are' if len(cases) > 1 else 'is'} suspect."
    )
    second = (
        f"{len(odd) or 'None'} of the {len(judged)} scans {'are' if len(odd) > 1 else 'is'} unlike "
        "those that the network was trained on."
        if judged
        else "There are too few training scans to judge whether a scan is unlike them."
    )
    floor = [f["floor_mae_hu"] for f in floors if f["floor_mae_hu"] is not None]
    third = (
        f"The reference itself differs by {short(sum(floor) / len(floor))} HU (MAE, n = "
        f"{len(floor)}) between alignments; no score against it can resolve less than that."
        if floor
        else "The registration floor was not measured (evaluation.floor lists no alignments)."
    )
    return [first, second, third]


def _suspects(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = [
        Column("Case"), Column("Check"), Column("Found", numeric=True),
        Column("Limit", numeric=True), Column("Meaning"),
    ]  # fmt: skip
    cells = [
        [
            Cell(row["case"]),
            Cell(row["check"].replace("_", " "), "suspect"),
            Cell(_with_unit(row["value"], row["unit"])),
            Cell(_with_unit(row["limit"], row["unit"])),
            Cell(row["message"], "long"),
        ]
        for row in rows
    ]
    return Table("Suspect cases, by check", columns, cells)


def _with_unit(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return f"{fixed(value, 2)} {unit}".strip()


def _unlike(found: Mapping[str, Mapping[str, Any]]) -> Table | None:
    odd = {case: entry for case, entry in found.items() if entry["unlike"]}
    if not odd:
        return None
    columns = [
        Column("Case"), Column("Distance", numeric=True), Column("Limit", numeric=True),
        Column("Most unusual feature"),
    ]  # fmt: skip
    rows = [
        [Cell(case), Cell(fixed(t["distance"], 2)), Cell(fixed(t["limit"], 2)), Cell(t["because"])]
        for case, t in sorted(odd.items())
    ]
    return Table("Scans unlike those that their network was trained on", columns, rows)


def _floor(found: Mapping[str, Mapping[str, Any]]) -> Table | None:
    pairs = sorted({pair for entry in found.values() for pair in entry["pairs"]})
    if not pairs:
        return None
    columns = [Column("Case")] + [Column(pair, "HU", numeric=True) for pair in pairs]
    rows = [
        [
            Cell(case),
            *[Cell(fixed(t["pairs"][p]["mae_hu"], 1) if p in t["pairs"] else "–") for p in pairs],
        ]
        for case, t in sorted(found.items())
    ]
    return Table("Registration floor: MAE between references under two alignments", columns, rows)


def _source(
    source: str, by_reference: Mapping[str, Any], stable: Mapping[str, Any] | None
) -> SourceTrust:
    name = source_name(source)
    sentences: list[str] = []
    tables: list[Table] = []
    charts: list[tuple[str, str]] = []
    for reference, result in by_reference.items():
        against = reference_name(reference)
        if result.get("coverage"):
            sentences.append(_holds(result, against))
            tables.append(_coverage(result, against))
            if result.get("elsewhere"):
                tables.append(_elsewhere(result, against))
        else:
            sentences.append(
                f"Too few patients to judge intervals {against}: five with a reference are needed."
            )
        if result.get("calibration"):
            charts += _charts(result, f"{name}, {against}")
    if stable:
        sentences.append(_unstable(stable))
        tables.append(_stability(stable))
    return SourceTrust(name, sentences, tables, charts)


def _unstable(stable: Mapping[str, Any]) -> str:
    weak = sorted(name for name, found in stable.items() if found["stable"] is False)
    if not weak:
        return "No score depends on one voxel of the outline or of the registration."
    return (
        f"These scores depend on one voxel of the outline or of the registration as much as on the "
        f"patient (ICC below 0.75): {', '.join(weak)}."
    )


def _stability(stable: Mapping[str, Any]) -> Table:
    columns = [
        Column("Score"), Column("Cases", numeric=True), Column("ICC", numeric=True),
        Column("other masks", numeric=True), Column("other registrations", numeric=True),
    ]  # fmt: skip
    rows = [
        [
            Cell(name), Cell(str(found["n"])),
            *[
                Cell("–" if found["icc"][part] is None else fixed(found["icc"][part], 2))
                for part in ("all", "masks", "registration")
            ],
        ]
        for name, found in sorted(stable.items())
    ]  # fmt: skip
    caption = "Agreement of scores when masks and references are a voxel off: ICC(2,1)"
    return Table(caption, columns, rows)


def _holds(result: Mapping[str, Any], against: str) -> str:
    found = result["coverage"]["all"]
    nominal, seen = (fixed(100 * v, 1) for v in (result["nominal"], found["value"]))
    if found["holds"] is None:
        return f"Intervals of nominal {nominal} % cover {seen} % of the voxels {against}."
    low, high = (fixed(100 * found[end], 1) for end in ("low", "high"))
    verdict = (
        "the nominal value lies in it"
        if found["holds"]
        else "the nominal value lies outside: do not rely on these intervals here"
    )
    return (
        f"Intervals of nominal {nominal} %, calibrated on the other patients, cover {seen} % of "
        f"the voxels {against} (95 % interval over {found['n']} cases {low} to {high} %): "
        f"{verdict}."
    )


def _coverage(result: Mapping[str, Any], against: str) -> Table:
    columns = [
        Column("Where"), Column("n", numeric=True), Column("Half-width", "HU", numeric=True),
        Column("Covered", "%", numeric=True), Column("95 % interval", "%", numeric=True),
        Column("Nominal inside"),
    ]  # fmt: skip
    groups = [("", result["coverage"])]
    groups += [(f"{region}: ", found) for region, found in result["by_region"].items() if found]
    rows = [
        [Cell(f"{prefix}{'all voxels' if where == 'all' else where}"), *_covered(found)]
        for prefix, group in groups
        for where, found in group.items()
    ]
    caption = (
        f"Conformal intervals {against} by HU band of the prediction, nominal "
        f"{fixed(100 * result['nominal'], 0)} %"
    )
    return Table(caption, columns, rows)


def _elsewhere(result: Mapping[str, Any], against: str) -> Table:
    columns = [
        Column("Region"), Column("Cases", numeric=True),
        Column("Patients elsewhere", numeric=True),
        Column("Covered as calibrated elsewhere", "%", numeric=True),
        Column("Adapted to the scans", "%", numeric=True),
    ]  # fmt: skip
    rows = [
        [
            Cell(region), Cell(str(found["cases"])), Cell(str(found["patients_elsewhere"])),
            Cell(fixed(100 * found["split"], 1)), Cell(fixed(100 * found["adapted"], 1)),
        ]
        for region, found in sorted(result["elsewhere"].items())
    ]  # fmt: skip
    caption = (
        f"Intervals {against} in a region that their calibration lacks, nominal "
        f"{fixed(100 * result['nominal'], 0)} %"
    )
    return Table(caption, columns, rows)


def _covered(found: Mapping[str, Any]) -> list[Cell]:
    known = found["low"] is not None
    ends = f"{fixed(100 * found['low'], 1)} to {fixed(100 * found['high'], 1)}" if known else "–"
    kinds = {True: Cell("yes", "pass"), False: Cell("no", "fail"), None: Cell("–")}
    width = found["half_width"]
    return [
        Cell(str(found["n"])),
        Cell("–" if width is None else fixed(width, 0)),
        Cell(fixed(100 * found["value"], 1)),
        Cell(ends),
        kinds[found["holds"]],
    ]


def _charts(result: Mapping[str, Any], about: str) -> list[tuple[str, str]]:
    observed = [(100 * p, 100 * seen) for p, seen in result["calibration"]["observed"]]
    ideal = [(p, p) for p, _ in observed]
    first = line_chart(
        [Line("spread over flips", observed, 0), Line("calibrated", ideal, 7)],
        x_label="nominal coverage [%]", y_label="observed coverage [%]",
        alt=f"{about}: observed over nominal coverage of the spread of flips",
    )  # fmt: skip
    kept = [(100 * share, mae) for share, mae, _ in result["retention"]]
    best = [(100 * share, mae) for share, _, mae in result["retention"]]
    second = line_chart(
        [Line("by uncertainty", kept, 0), Line("ideal", best, 7)],
        x_label="voxels kept, most certain first [%]", y_label="MAE of the kept [HU]",
        alt=f"{about}: error of the voxels that are kept",
    )  # fmt: skip
    return [
        (
            f"{about}: coverage of the spread over flips (blue) and of a calibrated one (grey)",
            first,
        ),
        (f"{about}: error of the voxels kept, by uncertainty (blue) and at best (grey)", second),
    ]


def _rankings(found: Mapping[str, Any]) -> list[Table]:
    tables = []
    for source in sorted(found, reverse=True):
        for reference, ranking in found[source].items():
            columns = [
                Column("Method"), Column("Mean rank, corrected", numeric=True),
                Column("as published", numeric=True),
                Column("First in", "% of draws", numeric=True),
            ]  # fmt: skip
            rows = [
                [
                    Cell(method_name(method)),
                    Cell(fixed(place, 2)),
                    Cell(fixed(ranking["as_published"][method], 2)),
                    Cell(fixed(100 * ranking["first_share"][method], 0)),
                ]
                for method, place in sorted(ranking["corrected"].items(), key=lambda item: item[1])
            ]
            caption = (
                f"{source_name(source)}, ranking {reference_name(reference)} over "
                f"{', '.join(RANKED[m] for m in ranking['metrics'])} (n = {ranking['n']})"
            )
            tables.append(Table(caption, columns, rows))
    return tables


RANKED = {"mae_hu": "MAE", "psnr_db": "PSNR", "ms_ssim": "MS-SSIM", "dice": "Dice"}
"""Names of the ranked metrics."""
