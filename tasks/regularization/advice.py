"""Which regularizers to use: recommended, situational or experimental, from the study's rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from synthct.data.tables import read_table

EVIDENCE = Path(__file__).with_name("evidence.csv")
"""Written by ``python -m docs.make_advice``: one row for each regularizer and set of pairs."""

LEVEL = 0.05
"""Family-wise error rate at which a difference counts."""

Verdict = Literal["recommended", "situational", "experimental", "for registration"]


class Advice(NamedTuple):
    """A verdict and the evidence in one sentence."""

    verdict: Verdict
    why: str


ELSEWHERE = Advice(
    "for registration", "a penalty on displacements; the registration benchmarks measure it"
)


def advice(name: str, rows: Sequence[Mapping[str, str]] | None = None) -> Advice:
    """The advice on a regularizer.

    * **recommended**: better than the control on at least one set of pairs, and worse on none. A
      difference counts if its interval excludes 0, it is above the floor of two runs of one recipe,
      and its corrected p is below 0.05.
    * **situational**: neither better nor worse; it may help with what its paper claims.
    * **experimental**: worse on some set of pairs, or not measured, or changed since.
    """
    found = _by_name().get(name, []) if rows is None else list(rows)
    if not found:
        return Advice("experimental", "not measured in the study")
    measured = "; ".join(
        f"{float(row['difference']):+.1f} HU on {row['pairs']} pairs ({_counts(row)})"
        for row in found
    )
    counted = [_counts(row) for row in found]
    if any(row["changed"] == "1" for row in found):
        return Advice("experimental", f"changed since it was measured: {measured}")
    if "worse" in counted:
        return Advice("experimental", measured)
    return Advice("recommended" if "better" in counted else "situational", measured)


def _counts(row: Mapping[str, str]) -> str:
    difference, low, high = (float(row[key]) for key in ("difference", "low", "high"))
    if abs(difference) <= float(row["floor"]):
        return "below the floor"
    if low * high <= 0 or float(row["adjusted_p"]) >= LEVEL:
        return "no difference shown"
    return "better" if difference < 0 else "worse"


@cache
def _by_name() -> dict[str, list[dict[str, str]]]:
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in read_table(EVIDENCE):
        rows[row["regularizer"]].append(row)
    return dict(rows)
