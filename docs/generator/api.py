"""The Python API page, from signatures and docstrings."""

from __future__ import annotations

import enum
import inspect
from typing import Any

import synthct
from docs.generator.docstrings import first_sentence, markdown
from docs.generator.sources import INTERNAL, PUBLIC, REGISTRIES

WIDTH = 88
"""Signatures longer than this have a parameter a line."""


def page() -> str:
    """The reference of the Python API."""
    parts = [
        "# Python API",
        "`import synthct` gives the names of this page; the command line is a thin layer over "
        "them. Each is loaded when it is first used. Arrays are (Z, Y, X), vectors (z, y, x), "
        "points LPS in millimetres. A scan is a path or a `Volume`. What is not on this page may "
        "change without notice. Generated from signatures and docstrings; the examples are run as "
        "tests. [A guide](../how-to/use-from-python.md) shows the names at work.",
    ]
    for title, names in PUBLIC:
        parts.append(f"## {title}")
        parts += [_member(getattr(synthct, name), prefix="synthct.") for name in names]
    parts += ["## Plug-ins by name", _registries()]
    for title, members in INTERNAL:
        parts.append(f"## {title}")
        parts += [
            _member(member, imported=f"from {member.__module__} import {member.__name__}\n\n")
            for member in members
        ]
    return "\n\n".join(parts) + "\n"


def _registries() -> str:
    """A row for each registry of the package: its public name and its page."""
    pages = {id(each.registry): each for each in REGISTRIES}
    rows = [
        f"| `synthct.{name}` | [{each.title}]({each.file}.md) |"
        for name in synthct.__all__
        if (each := pages.get(id(getattr(synthct, name))))
    ]
    about = (
        "A registry finds a class by its name. `X.names()` lists the names, `X.get(NAME)` is the "
        "class, and `X.build(NAME, OPTIONS)` an instance with checked options."
    )
    return "\n".join([about, "", "| registry | members |", "|---|---|", *rows])


def _member(member: Any, imported: str = "", prefix: str = "") -> str:
    kind = "class " if inspect.isclass(member) and not prefix else ""
    parts = [
        f"### {member.__name__}",
        f"```python\n{imported}{kind}{signature(member, prefix)}\n```",
        markdown(member.__doc__),
    ]
    if inspect.isclass(member) and not issubclass(member, enum.Enum):
        parts.append(_methods(member))
    return "\n\n".join(part for part in parts if part)


def signature(member: Any, prefix: str = "") -> str:
    """Name and signature, one parameter a line where it is long."""
    name = f"{prefix}{member.__name__}"
    if inspect.isclass(member) and issubclass(member, enum.Enum):
        return f"{name}: " + ", ".join(str(each.value) for each in member)
    try:
        found = inspect.signature(member)
    except (TypeError, ValueError):
        return f"{name}(...)"
    parameters = _parameters(found)
    returns = ""
    if not inspect.isclass(member) and found.return_annotation is not inspect.Signature.empty:
        returns = f" -> {_annotation(found.return_annotation)}"
    line = f"{name}({', '.join(parameters)}){returns}"
    if len(line) <= WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {each},\n" for each in parameters) + f"){returns}"


def _parameters(found: inspect.Signature) -> list[str]:
    """Each parameter as in the source, and the ``*`` before those given by name only."""
    parameters = []
    for parameter in found.parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and "*" not in parameters:
            parameters.append("*")
        text = parameter.name
        if parameter.annotation is not inspect.Parameter.empty:
            text += f": {_annotation(parameter.annotation)}"
        if parameter.default is not inspect.Parameter.empty:
            default = "..." if "factory" in repr(parameter.default) else repr(parameter.default)
            text += f" = {default}"
        parameters.append(text)
    return parameters


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _methods(cls: type) -> str:
    rows = []
    for name, value in vars(cls).items():
        if name.startswith("_"):
            continue
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if not (inspect.isfunction(function) and function.__doc__):
            continue
        shown = name if isinstance(value, property) else f"{name}()"
        rows.append(
            f"| `{shown}` | {first_sentence(function.__doc__).replace('|', chr(92) + '|')} |"
        )
    return "\n".join(["| method | what it does |", "|---|---|", *rows]) if rows else ""
