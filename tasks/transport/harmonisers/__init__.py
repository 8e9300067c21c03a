"""Registry of harmonisers: each maps the intensity law of a scan to that of another scanner.

A harmoniser is fitted to one scan and a reference law, in the units that the source scaling gives:
it knows no other scan, no CT and no position.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from synthct.data.errors import DataError
from synthct.data.registry import Registry
from synthct.tasks.transport.laws import Curve, Law, largest_atom

LARGEST_ATOM = 0.5
"""Largest share of the body that may have one single intensity."""


class Harmoniser(Protocol):
    """How a law is mapped; a frozen dataclass of this package."""

    def fit(self, scan: Law, reference: Law) -> Curve:
        """The rising curve that maps intensities of ``scan`` to those of ``reference``."""


HARMONISERS: Registry[Harmoniser] = Registry(
    "harmoniser", group="synthct.harmonisers", package="synthct.tasks.transport.harmonisers"
)


def fit_curve(name: str, options: Mapping[str, Any], scan: Law, reference: Law) -> Curve:
    """The curve of the harmoniser called ``name``.

    Raises
    ------
    UsageError
        ``unknown-harmoniser`` or ``bad-parameter``.
    DataError
        ``law-unmappable``: more than half of the body has one intensity, so that no curve can
        spread it, or the curve falls somewhere.
    """
    harmoniser = HARMONISERS.build(name, options, where="harmonise")
    if (share := largest_atom(scan)) > LARGEST_ATOM:
        raise _unmappable(
            f"{share:.0%} of the body has one single intensity",
            f"at most {LARGEST_ATOM:.0%} of a body that is harmonised has one intensity",
        )
    curve = harmoniser.fit(scan, reference)
    if not curve.rises:
        raise _unmappable(
            f"the curve of {name!r} maps some brighter tissue to a darker value",
            "a harmoniser keeps the order of intensities",
        )
    return curve


def _unmappable(problem: str, rule: str) -> DataError:
    return DataError(
        problem,
        rule=rule,
        remedy="check that the scan is an image of a patient, or do not harmonise it",
        code="law-unmappable",
    )
