"""Releases, refusals and exclusions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthct.data.files import canonical_json
from synthct.tasks.figures.names import source_name
from synthct.tasks.figures.numbers import label_and_unit, without_folders
from synthct.tasks.report.reading import Chain
from synthct.tasks.report.table import Cell, Column, Table

FIRST = (
    "demonstration_only", "intended_use", "not_for_clinical_use", "data", "licence", "parity",
    "gate", "folds", "caveats",
)  # fmt: skip
"""Parts of the card that are shown unfolded, in this order; the whole card follows."""


@dataclass(frozen=True)
class Released:
    """One source's card, or its refusal; ``state`` is released, refused or demonstration only."""

    source: str
    refused: bool
    state: str
    parts: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    whole: str


@dataclass(frozen=True)
class Release:
    """The release section."""

    there: bool
    models: Sequence[Released]


def release(chain: Chain) -> Release:
    """Cards and refusals of all sources."""
    refused = [_refused(source, error) for source, error in chain.refusals.items()]
    cards = [
        _card(source, card) for source, card in chain.cards.items() if source not in chain.refusals
    ]
    ordered = sorted([*refused, *cards], key=lambda model: model.source, reverse=True)
    return Release(chain.has("export"), ordered)


def _card(source: str, card: Mapping[str, Any]) -> Released:
    shown = [name for name in FIRST if card.get(name) not in (None, "")]
    parts = [(label_and_unit(name)[0], _facts(card[name])) for name in shown]
    state = "demonstration only" if card.get("demonstration_only") else "released"
    return Released(source_name(source), False, state, parts, _whole(card))


def _refused(source: str, error: Mapping[str, Any]) -> Released:
    parts = [("Why it was refused", _facts(error))]
    return Released(source_name(source), True, "refused", parts, _whole(error))


def _whole(value: Mapping[str, Any]) -> str:
    return without_folders(canonical_json(dict(value)))


def _facts(value: Any) -> list[tuple[str, str]]:
    return [(label, without_folders(text)) for label, text in _flat(value, ())]


def _flat(value: Any, above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from _flat(value[key], (*above, str(key)))
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        for number, item in enumerate(value, start=1):
            yield from _flat(item, (*above, str(number)))
    else:
        yield _fact(value, above)


def _fact(value: Any, above: tuple[str, ...]) -> tuple[str, str]:
    label, unit = label_and_unit(above[-1]) if above else ("", "")
    before = " · ".join(label_and_unit(name)[0] for name in above[:-1])
    text = _text(value)
    return (f"{before} · {label}" if before else label, f"{text} {unit}" if unit else text)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value) or "none"
    return "none" if value is None else str(value)


def exclusions(chain: Chain) -> Table | None:
    """Every unit that a stage excluded, with problem, rule and remedy; None without exclusions."""
    if not chain.excluded:
        return None
    names = ("stage", "unit", "problem", "rule", "remedy")
    rows = [[Cell(without_folders(row.get(name, ""))) for name in names] for row in chain.excluded]
    columns = [Column(name.capitalize()) for name in names]
    return Table("Excluded scans, cases and folds", columns, rows)
