"""Every key of ``params.yaml``: type, unit, default and meaning, from the pydantic sections."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from docs.generator.docstrings import first_sentence, prose, stacked
from docs.generator.sources import PARAMS

UNITS = {
    "mm": "mm", "hu": "HU", "gb": "GB", "ml": "ml", "deg": "degrees", "percent": "%",
    "seconds": "s", "gy": "Gy", "db": "dB", "pixels": "pixels",
}  # fmt: skip
"""Last part of a key's name, and the unit that it says."""

IN_BRACKETS = re.compile(r"\s*\[(mm|HU|GB|%|1|s|voxels|pixels|degrees|network units)\]")
"""How a meaning states a unit; 1 is a ratio."""

PLAIN = {int: "integer", float: "number", str: "text", bool: "true or false", Any: "any"}
BOUNDS = {"gt": "> {}", "ge": "≥ {}", "lt": "< {}", "le": "≤ {}"}


@dataclass(frozen=True)
class Key:
    """One key: its dotted path and what the reference says of it."""

    path: str
    type: str
    unit: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Group:
    """A section of ``params.yaml`` and its keys."""

    path: str
    model: type[BaseModel]
    keys: tuple[Key, ...]


def groups(model: type[BaseModel] = PARAMS, path: str = "") -> Iterator[Group]:
    """The section and, after it, the sections below it."""
    yield Group(path, model, tuple(_key(model, path, name) for name in model.model_fields))
    for name, field in model.model_fields.items():
        for inner in models_in(field.annotation):
            yield from groups(inner, _joined(path, name, field.annotation))


def _key(model: type[BaseModel], path: str, name: str) -> Key:
    field = model.model_fields[name]
    described = field.description or _of_inner(field.annotation)
    unit, meaning = _unit(name, prose(" ".join(described.split())))
    return Key(
        path=f"{path}.{name}" if path else name,
        type=type_of(field.annotation, field.metadata),
        unit=unit,
        default=_default(field),
        meaning=meaning,
    )


def _of_inner(annotation: Any) -> str:
    """A section that needs no words of its own as a field is explained by its class."""
    return " ".join(first_sentence(inner.__doc__) for inner in models_in(annotation))


def _joined(path: str, name: str, annotation: Any) -> str:
    many = {dict: ".NAME", tuple: "[]", list: "[]"}
    origins = {get_origin(each) for each in _alternatives(annotation)}
    suffix = next((text for origin, text in many.items() if origin in origins), "")
    return f"{path}.{name}{suffix}" if path else f"{name}{suffix}"


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Sections that a type holds, in its order."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found = [model for inner in get_args(annotation) for model in models_in(inner)]
    return list(dict.fromkeys(found))


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(inner for each in get_args(annotation) for inner in _alternatives(each))
    return (annotation,)


def type_of(annotation: Any, metadata: Any = ()) -> str:
    """A type in words, with its bounds."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_of(arguments[0], [*arguments[1:], *metadata])
    if origin in (Union, types.UnionType):
        return " or ".join(
            "null" if each is type(None) else type_of(each, metadata) for each in arguments
        )
    if origin is Literal:
        return " or ".join(
            f"`{json.dumps(each) if isinstance(each, bool) else each}`" for each in arguments
        )
    if origin in (tuple, list):
        return _sequence(origin, arguments)
    if origin is dict:
        return f"map of {type_of(arguments[0])} to {type_of(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    words = PLAIN.get(annotation, getattr(annotation, "__name__", str(annotation)))
    return " ".join([words, *_bounds(metadata)])


def _sequence(origin: type, arguments: tuple[Any, ...]) -> str:
    if origin is tuple and Ellipsis not in arguments:
        kinds = list(dict.fromkeys(type_of(each) for each in arguments))
        return f"list of {len(arguments)}: {kinds[0] if len(kinds) == 1 else ', '.join(kinds)}"
    return f"list of {type_of(arguments[0])}"


def _bounds(metadata: Any) -> list[str]:
    found = []
    for each in metadata:
        for inner in getattr(each, "metadata", None) or [each]:
            for name, text in BOUNDS.items():
                if (limit := getattr(inner, name, None)) is not None:
                    found.append(text.format(f"{limit:g}"))
            if pattern := getattr(inner, "pattern", None):
                found.append(f"matching `{pattern}`")
    return found


def _unit(name: str, meaning: str) -> tuple[str, str]:
    """The unit that the meaning states in brackets, else the one in the key's name."""
    if found := IN_BRACKETS.search(meaning):
        return found[1], IN_BRACKETS.sub("", meaning, count=1)
    return UNITS.get(name.rpartition("_")[2], ""), meaning


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    assert value is not PydanticUndefined
    if isinstance(value, BaseModel) or (isinstance(value, dict) and models_in(field.annotation)):
        return "below"
    text = json.dumps(to_jsonable_python(value), ensure_ascii=False)
    return f"`{text}`"


def page() -> str:
    """The reference of ``params.yaml``."""
    parts = [
        "# Params",
        "Every key of `params.yaml`, generated from the classes that check it. A key that is not "
        "listed is an error. A key that is left out has the default given here; the demo's own "
        "values are in the `params.yaml` of the repository. `[]` stands for each entry of a list, "
        "`NAME` for each key of a map.",
    ]
    for group in groups():
        title = f"`{group.path}`" if group.path else "Top level"
        depth = "##" if group.path.count(".") == 0 else "###"
        rows = [
            "| key | type | unit | default | meaning |",
            "|---|---|---|---|---|",
            *(_row(key, group.path) for key in group.keys),
        ]
        about = first_sentence(group.model.__doc__)
        parts += [f"{depth} {title}", about, stacked("params", rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _row(key: Key, path: str) -> str:
    name = key.path[len(path) + 1 :] if path else key.path
    cells = (f"`{name}`", key.type, key.unit, key.default, key.meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
