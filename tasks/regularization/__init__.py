"""Regularizers by name; one file each, found when first asked for."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from synthct.data.registry import Registry
from synthct.tasks.regularization.base import Regularizer, seams_of

REGULARIZERS: Registry[Regularizer] = Registry(
    "regularizer", group="synthct.regularizers", package="synthct.tasks.regularization"
)


def catalogue(name: str | None = None) -> list[dict[str, Any]]:
    """Every regularizer, or the one called ``name``, as plain values for people and machines.

    ``name, summary, seams, paper, incompatible, module, doc`` and ``parameters``: a list of
    ``{name, type, default}``.
    """
    if name is not None:
        return [_entry(name, REGULARIZERS.get(name))]
    return [_entry(known, cls) for known, cls in REGULARIZERS.items()]


def _entry(name: str, cls: type[Regularizer]) -> dict[str, Any]:
    doc = inspect.cleandoc(cls.__doc__ or "")
    return {
        "name": name,
        "summary": doc.partition("\n\n")[0].replace("\n", " "),
        "seams": list(seams_of(cls)),
        "paper": cls.paper,
        "incompatible": sorted(cls.incompatible),
        "module": cls.__module__,
        "parameters": [
            {"name": field.name, "type": str(field.type), "default": _default(field)}
            for field in dataclasses.fields(cls)  # type: ignore[arg-type]
        ],
        "doc": doc,
    }


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default
