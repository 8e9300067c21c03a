"""The exceptions of synthct. Each prints ``WHERE: PROBLEM; RULE; REMEDY`` in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Self


class SynthctError(Exception):
    """A one-line error that a user can act on.

    Parameters
    ----------
    problem
        What went wrong, with the value that was found, without a full stop.
    rule
        What must hold; "" where the problem already says it.
    where
        The file, key or address concerned.
    remedy
        What the user can do about it.
    code
        Stable kebab-case name of the error, for tables and tests.
    """

    def __init__(
        self,
        problem: str,
        *,
        rule: str = "",
        where: str = "",
        remedy: str = "",
        code: str = "error",
    ) -> None:
        self.problem, self.rule, self.where = problem, rule, where
        self.remedy, self.code = remedy, code
        super().__init__(problem, rule, where, remedy, code)

    @property
    def what(self) -> str:
        """Problem and rule, without place and remedy."""
        return "; ".join(part for part in (self.problem, self.rule) if part)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.remedy:
            text += f"; {self.remedy}"
        return " ".join(text.split())

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling between Dask workers.
        return _rebuild, (type(self), self.as_json())

    def at(self, where: str) -> Self:
        """The same error with its place, where the code that raised it did not know it."""
        return type(self).from_json({**self.as_json(), "where": self.where or where})

    def rename(self, path: str, name: str) -> None:
        """Replace ``path``, for example of a temporary file, by ``name`` in all texts."""
        for field in ("problem", "rule", "where", "remedy"):
            setattr(self, field, getattr(self, field).replace(path, name))
        self.args = (self.problem, self.rule, self.where, self.remedy, self.code)

    def as_json(self) -> dict[str, str]:
        """The error as a row of ``excluded.json``."""
        return {
            "code": self.code,
            "where": self.where,
            "problem": self.problem,
            "rule": self.rule,
            "remedy": self.remedy,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, str]) -> Self:
        """The error that :meth:`as_json` described."""
        fields = {name: row.get(name, "") for name in ("rule", "where", "remedy")}
        return cls(row.get("problem", ""), code=row.get("code", "error"), **fields)


def _rebuild(kind: type[SynthctError], row: Mapping[str, str]) -> SynthctError:
    return kind.from_json(row)


class DataError(SynthctError):
    """The scan or the pair is unfit: listed in ``excluded.json``; others go on (exit code 3).

    A command on single scans ends with exit code 2.
    """


class UsageError(SynthctError):
    """The command line or ``params.yaml`` is wrong; raised before any work (exit code 2)."""


class MachineError(SynthctError):
    """Disk, worker, port or storage failed: the stage stops and records nothing (exit code 1)."""


class TooManyExcludedError(SynthctError):
    """More cases were excluded than ``max_excluded_fraction`` allows (exit code 1)."""


def mask_empty(mask: str, holds: str, *, where: str = "", remedy: str = "") -> DataError:
    """The error of an empty mask.

    Parameters
    ----------
    mask
        Its name in the message, for example ``the body mask``.
    holds
        The image of which it must contain a voxel, for example ``the scan``; "" for none.
    where
        The file or case.
    remedy
        Default: check that mask and scan belong together.
    """
    of = f" of {holds}" if holds else ""
    return DataError(
        f"{mask} is empty",
        rule=f"{mask} holds at least one voxel{of}",
        where=where,
        remedy=remedy or "check the mask and that it lies on the same scan of the same patient",
        code="mask-empty",
    )


def nearest(name: str, known: Iterable[str], *, closeness: float = 0.6) -> str | None:
    """The known name most similar to ``name``, ignoring case; None where none is similar.

    ``closeness`` is the least similarity, as difflib's ratio in [0, 1].
    """
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=closeness)
    return by_lower[near[0]] if near else None


def did_you_mean(
    name: str, known: Iterable[str], *, kind: str = "known", closeness: float = 0.6
) -> str:
    """``did you mean 'x'?``, or the list of known names where none is similar."""
    names = sorted(known)
    near = nearest(name, names, closeness=closeness)
    return f"did you mean {near!r}?" if near else f"{kind}: {', '.join(names) or 'none'}"
