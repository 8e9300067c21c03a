"""Pluggable = a name, a frozen dataclass, a decorator; strangers come through an entry point."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from synthct.data.errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """Classes of one kind by name.

    Parameters
    ----------
    kind
        What the members are, in the singular, for error messages (``"regularizer"``).
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
                remedy=self._suggestion(name),
                code=f"unknown-{self.kind.replace(' ', '-')}",
            )
        return self._known[name]

    def build(self, name: str, options: Mapping[str, Any], *, where: str = "") -> T:
        """An instance of the class called ``name`` with its fields set from ``options``."""
        cls = self.get(name, where=where)
        fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for key in options:
            if key not in fields:
                near = difflib.get_close_matches(key, fields, n=1)
                hint = (
                    f"did you mean {near[0]!r}?" if near else f"it has {sorted(fields) or 'none'}"
                )
                raise UsageError(
                    f"{self.kind} {name!r} has no parameter {key!r}",
                    where=where,
                    remedy=hint,
                    code="unknown-parameter",
                )
        try:
            return cls(**options)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"{self.kind} {name!r}: {error}", where=where, code="bad-parameter"
            ) from error

    def module_of(self, name: str) -> str:
        """Dotted module that defines the member: its code enters the keys of units that use it."""
        return self.get(name).__module__

    def _suggestion(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._known, n=1)
        return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(self._known))}"

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
