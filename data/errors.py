"""What can go wrong, reported the same way everywhere: problem, rule, where, remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Self


class SynthctError(Exception):
    """A one-line error a user can act on.

    Parameters
    ----------
    rule
        What must hold, as a sentence without a full stop.
    where
        The file, key or address it was broken in.
    got
        What was found instead.
    remedy
        What the user can do about it.
    problem
        What went wrong, with what came; told first. It takes the place of ``got``.
    code
        Stable kebab-case name of the rule, for tables and tests.
    """

    def __init__(
        self,
        rule: str,
        *,
        where: str = "",
        got: str = "",
        remedy: str = "",
        code: str = "fault",
        problem: str = "",
    ) -> None:
        self.rule, self.where, self.got, self.remedy, self.code = rule, where, got, remedy, code
        self.problem = problem
        super().__init__(rule, where, got, remedy, code, problem)

    @property
    def what(self) -> str:
        """Problem and rule, without the place and the remedy."""
        text = "; ".join(part for part in (self.problem, self.rule) if part)
        return f"{text}, got {self.got}" if self.got else text

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.remedy:
            text += f"; {self.remedy}"
        return " ".join(text.split())

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling between Dask workers.
        return _rebuild, (type(self), *self.args)

    def at(self, where: str) -> SynthctError:
        """The same fault with its place named, where the code that found it could not know it."""
        told = self.where or where
        return _rebuild(type(self), self.rule, told, self.got, self.remedy, self.code, self.problem)

    def rename(self, path: str, name: str) -> None:
        """Say ``name`` wherever the error says ``path``, which the reader would not know."""
        for field in ("rule", "where", "got", "remedy", "problem"):
            setattr(self, field, getattr(self, field).replace(path, name))
        self.args = (self.rule, self.where, self.got, self.remedy, self.code, self.problem)

    def as_json(self) -> dict[str, str]:
        """The fault as a row of ``excluded.json``."""
        return {
            "code": self.code,
            "where": self.where,
            "problem": self.problem,
            "rule": self.rule,
            "got": self.got,
            "remedy": self.remedy,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, str]) -> Self:
        """The error that :meth:`as_json` described."""
        fields = {name: row.get(name, "") for name in ("where", "got", "remedy", "problem")}
        return cls(row.get("rule", ""), code=row.get("code", "error"), **fields)


def _rebuild(
    kind: type[SynthctError], rule: str, where: str, got: str, remedy: str, code: str, problem: str
) -> SynthctError:
    return kind(rule, where=where, got=got, remedy=remedy, code=code, problem=problem)


class DataError(SynthctError):
    """The scan or the pair is unfit: a result, listed in ``excluded.json``; the chain goes on."""


class UsageError(SynthctError):
    """The command line or ``params.yaml`` is wrong: nothing was started (exit code 2)."""


class MachineError(SynthctError):
    """Disk, worker, port or storage failed: the stage stops and records nothing (exit code 1)."""


class TooManyExcludedError(SynthctError):
    """More cases were excluded than ``max_excluded_fraction`` allows (exit code 1)."""


def mask_empty(mask: str, holds: str, *, where: str = "", remedy: str = "") -> DataError:
    """The fault of a mask without a voxel.

    Parameters
    ----------
    mask
        Which one: ``the body mask``.
    holds
        Of what it should hold a voxel: ``the scan``; "" where that goes without saying.
    where
        The file or case.
    remedy
        Unless it is to look whether mask and scan belong together.
    """
    of = f" of {holds}" if holds else ""
    return DataError(
        f"{mask} holds at least one voxel{of}",
        problem=f"{mask} is empty",
        where=where,
        remedy=remedy or "check the mask and that it lies on the same scan of the same patient",
        code="mask-empty",
    )


def nearest(name: str, known: Iterable[str], *, closeness: float = 0.6) -> str | None:
    """The known name most like ``name``, upper and lower case alike; None where none is."""
    spelled = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), spelled, n=1, cutoff=closeness)
    return spelled[near[0]] if near else None


def did_you_mean(
    name: str, known: Iterable[str], *, kind: str = "known", closeness: float = 0.6
) -> str:
    """``did you mean 'x'?``, or all that is known where nothing is near."""
    names = sorted(known)
    near = nearest(name, names, closeness=closeness)
    return f"did you mean {near!r}?" if near else f"{kind}: {', '.join(names) or 'none'}"
