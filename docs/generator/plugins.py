"""A page for each registry: every member with its options and its docstring."""

from __future__ import annotations

import dataclasses
import inspect
import json
from typing import Any

from pydantic_core import to_jsonable_python

from docs.generator.docstrings import first_sentence, markdown
from docs.generator.sources import REGISTRIES, REGULARIZERS, RegistryPage
from synthct.data.registry import documentation
from synthct.tasks.regularization.advice import advice
from synthct.tasks.regularization.base import seams_of

VERDICTS = ("recommended", "situational", "experimental")

ADVICE_LIMITS = """\
The evidence is [the study](../benchmarks/study.md): a small network, 12 digital patients of one
region, 150 steps and one seed, with pairs that are exact or 5 mm off. Its floor was not measured:
twice the largest gap between two arms of the same recipe is used instead. The evidence says nothing
about long trainings or a clinic's scans; run a study on your own scans before you rely on it."""


def pages() -> dict[str, str]:
    """Path below ``docs/`` to markdown."""
    return {f"reference/{each.file}.md": _page(each) for each in REGISTRIES}


def _page(each: RegistryPage) -> str:
    members = list(each.registry.items())
    group = each.registry.group
    parts = [
        f"# {each.title}",
        f"Chosen by name: {each.where}. Other distributions add members by the entry-point group "
        f"`{group}`. Generated from the docstrings.",
        *(_advised(members) if each.registry is REGULARIZERS else ()),
        "\n".join(
            [
                f"| {each.registry.kind} | what it does |",
                "|---|---|",
                *(f"| [`{name}`](#{name}) | {_cell(cls)} |" for name, cls in members),
            ]
        ),
    ]
    for name, cls in members:
        parts.append(_member(name, cls))
    return "\n\n".join(parts) + "\n"


def _advised(members: list[tuple[str, Any]]) -> list[str]:
    """Which ones to use, with the evidence, in the order of the verdicts."""
    found = [(name, advice(name)) for name, cls in members if "displacement" not in seams_of(cls)]
    found.sort(key=lambda each: VERDICTS.index(each[1].verdict))
    rows = [f"| [`{n}`](#{n}) | {one.verdict} | {one.why} |" for n, one in found]
    return [
        "## Which one to use {#advice}",
        markdown(inspect.cleandoc((advice.__doc__ or "").partition("\n\n")[2])),
        ADVICE_LIMITS,
        "\n".join(["| regularizer | advice | evidence |", "|---|---|---|", *rows]),
        "## All of them",
    ]


def _cell(cls: type) -> str:
    text = first_sentence(cls.__doc__)
    if text.endswith(","):  # a displayed formula follows
        text = text[:-1] + "."
    return text.replace("|", "\\|")


def _member(name: str, cls: type) -> str:
    parts = [f"## {name} {{#{name}}}", markdown(documentation(cls)), _options(cls)]
    return "\n\n".join(part for part in parts if part)


def _options(cls: type) -> str:
    """Fields of the dataclass with types and defaults; their meaning is above them."""
    fields = dataclasses.fields(cls)
    if not fields:
        return "It has no options."
    rows = [f"| `{field.name}` | `{_type(field)}` | {_default(field)} |" for field in fields]
    return "\n".join(["| option | type | default |", "|---|---|---|", *rows])


def _type(field: dataclasses.Field[Any]) -> str:
    text = field.type if isinstance(field.type, str) else inspect.formatannotation(field.type)
    return text.replace("|", "\\|")


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "required"
    text = json.dumps(to_jsonable_python(value, fallback=str), ensure_ascii=False)
    return f"`{text}`" if len(text) <= 80 else f"`{text[:77]}...`"
