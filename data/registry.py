"""Plug-ins: a frozen dataclass registered by name; third-party ones come through entry points."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pkgutil
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from synthct.data.errors import UsageError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Classes of one kind by name.

    Parameters
    ----------
    kind
        Noun for one member, for error messages (``"regularizer"``).
    group
        Entry-point group through which other distributions add members
        (``"synthct.regularizers"``): entry-point name = member name, value = ``module:Class``.
    package
        Our own plug-in package; its modules are imported at the first look-up, so that a new
        member is one new file.
    """

    def __init__(self, kind: str, *, group: str, package: str) -> None:
        self.kind, self.group, self.package = kind, group, package
        self._known: dict[str, type[T]] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Make the decorated frozen dataclass selectable in ``params.yaml`` as ``name``."""

        def add(cls: type[T]) -> type[T]:
            if name in self._known:
                raise ValueError(
                    f"{self.kind} {name!r} is already {self._known[name].__qualname__}; "
                    f"give {cls.__qualname__} another name"
                )
            if not dataclasses.is_dataclass(cls) or not cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
                raise TypeError(f"{self.kind} {cls.__qualname__} must be a frozen dataclass")
            self._known[name] = cls
            return cls

        return add

    def names(self) -> list[str]:
        """All names, sorted."""
        self._discover()
        return sorted(self._known)

    def items(self) -> Iterator[tuple[str, type[T]]]:
        """(name, class), sorted by name."""
        for name in self.names():
            yield name, self._known[name]

    def get(self, name: str, *, where: str = "") -> type[T]:
        """The class called ``name``; an unknown name raises with the nearest known one."""
        self._discover()
        if name not in self._known:
            raise UsageError(
                f"no {self.kind} is called {name!r}",
                where=where,
                remedy=did_you_mean(name, self._known),
                code=f"unknown-{self.kind.replace(' ', '-')}",
            )
        return self._known[name]

    def build(self, name: str, options: Mapping[str, Any], *, where: str = "") -> T:
        """An instance of the class called ``name`` with its fields set from ``options``.

        Values are checked against the annotations of the fields as strictly as ``params.yaml``
        itself (``"3"`` is not a number), and one error lists every wrong option.
        """
        cls = self.get(name, where=where)
        types = typing.get_type_hints(cls)
        fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        checked, wrong = {}, []
        for key, value in options.items():
            if key not in fields:
                wrong.append(f"no parameter {key!r} ({did_you_mean(key, fields)})")
                continue
            try:
                checked[key] = _checked(types[key], value)
            except ValidationError as error:
                wrong.append(f"{key}: {error.errors()[0]['msg']}, got {value!r}")
        if wrong:
            raise UsageError(
                f"{self.kind} {name!r}: {'; '.join(wrong)}",
                rule=f"{self.kind} {name!r} takes {', '.join(sorted(fields)) or 'no parameters'}",
                where=where,
                code="bad-parameter",
            )
        try:
            return cls(**checked)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"{self.kind} {name!r}: {error}",
                where=where,
                code="bad-parameter",
            ) from error

    def module_of(self, name: str) -> str:
        """Module that defines the member; its code is part of the keys of units that use it."""
        return self.get(name).__module__

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self.package)
        for module in pkgutil.walk_packages(package.__path__, f"{self.package}."):
            importlib.import_module(module.name)
        for point in entry_points(group=self.group):
            cls = point.load()
            if point.name not in self._known:
                self.register(point.name)(cls)
            elif self._known[point.name] is not cls:
                raise ValueError(
                    f"{self.kind} {point.name!r} of {point.value} is already "
                    f"{self._known[point.name].__qualname__}"
                )


_PARAMETERS = re.compile(r"(?<=\nParameters\n----------\n)(?:\S.*\n(?: {4}.*(?:\n|\Z))+)+")
_ENTRY = re.compile(r"^(\S.*)\n((?: {4}.*(?:\n|\Z))+)", re.MULTILINE)


def documentation(cls: type) -> str:
    """Docstring of a dataclass, with the parameters that its base classes explain.

    A parameter that the class explains itself is not repeated.
    """
    doc = inspect.cleandoc(cls.__doc__ or "")
    names = [field.name for field in dataclasses.fields(cls)]
    known = {name for entry, _ in _entries(doc) for name in entry.split(", ")}
    added = ""
    for base in cls.__mro__[1:]:
        for name, text in _entries(inspect.cleandoc(base.__doc__ or "")):
            if name in names and name not in known:
                known.add(name)
                added += f"{name}\n{text.rstrip()}\n"
    if not added:
        return doc
    if listed := _PARAMETERS.search(f"{doc}\n"):
        before, after = doc[: listed.end()].rstrip("\n"), doc[listed.end() :].strip("\n")
        before = f"{before}\n{added}"
    else:
        before, heading, after = doc.partition("References\n----------\n")
        before, after = f"{before.rstrip()}\n\nParameters\n----------\n{added}", heading + after
    return f"{before}\n{after}".rstrip("\n")


def _entries(doc: str) -> list[tuple[str, str]]:
    listed = _PARAMETERS.search(f"{doc}\n")
    return _ENTRY.findall(listed[0]) if listed else []


def _checked(kind: Any, value: Any) -> Any:
    """The value as a field of the type takes it; in JSON mode a list may fill a tuple."""
    adapter = TypeAdapter(kind)
    try:
        text = json.dumps(value)
    except TypeError:  # a Python object passed by code, not from a file
        return adapter.validate_python(value, strict=True)
    return adapter.validate_json(text, strict=True)
