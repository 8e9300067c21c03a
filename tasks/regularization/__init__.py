"""Registry of regularizers: plug-in modules of this package, imported at the first look-up."""

from __future__ import annotations

import dataclasses
from typing import Any

from synthct.data.registry import Registry, documentation
from synthct.tasks.regularization.base import Regularizer, seams_of

REGULARIZERS: Registry[Regularizer] = Registry(
    "regularizer", group="synthct.regularizers", package="synthct.tasks.regularization"
)


_REFERENCES = "References\n----------\n"


def catalogue(name: str | None = None) -> list[dict[str, Any]]:
    """Every regularizer, or the one called ``name``, as values that JSON can hold.

    ``name, summary, seams, references, incompatible, module, doc``, ``advice`` (``{verdict, why}``,
    from the study) and ``parameters``: a list of ``{name, type, default}``. ``references`` is that
    section of the docstring, on one line.

    Raises
    ------
    UsageError
        If no regularizer is called ``name``.
    """
    if name is not None:
        return [_entry(name, REGULARIZERS.get(name))]
    return [_entry(known, cls) for known, cls in REGULARIZERS.items()]


def _entry(name: str, cls: type[Regularizer]) -> dict[str, Any]:
    from synthct.tasks.regularization.advice import ELSEWHERE, advice  # not in the keys of units

    doc = documentation(cls)
    return {
        "name": name,
        "summary": doc.partition("\n\n")[0].replace("\n", " "),
        "seams": list(seams_of(cls)),
        "references": " ".join(doc.partition(_REFERENCES)[2].split()),
        "incompatible": sorted(cls.incompatible),
        "module": cls.__module__,
        "advice": (ELSEWHERE if seams_of(cls) == ("displacement",) else advice(name))._asdict(),
        "parameters": [
            {"name": field.name, "type": str(field.type), "default": _default(field)}
            for field in _fields(cls)
        ],
        "doc": doc,
    }


def _fields(cls: type[Regularizer]) -> list[dataclasses.Field[Any]]:
    """A regularizer's own parameters, then those of its base classes."""
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    return sorted(fields, key=lambda field: bool(field.kw_only))


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default
