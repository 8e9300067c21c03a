"""Input and result of the checks of a model's output."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.ndimage import binary_closing, binary_fill_holes, label

from synthct.tasks.evaluation.pair import Floats, Mask, MaskedPair

BODY_HU = -300.0
"""Threshold of the body outline [HU]."""


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Parameters
    ----------
    check
        Name of the check.
    value, limit, unit
        Measured value, the limit beyond which it is suspect, and their unit; value None: cannot
        be measured.
    suspect
        Whether the value lies beyond the limit.
    message
        Explanation of the value. The name is a key of ``scores.json``.
    """

    check: str
    value: float | None
    limit: float
    unit: str
    suspect: bool
    message: str

    def as_json(self) -> dict[str, Any]:
        """Plain JSON, with nine digits: the others depend on the order of summation."""
        value = None if self.value is None else float(f"{self.value:.9g}")
        return {**vars(self), "value": value}


@dataclass(frozen=True, eq=False)
class Evidence:
    """Input of the checks, with what several of them need computed once.

    Parameters
    ----------
    pair
        The masked pair that is scored.
    whole_reference
        The reference CT (Z, Y, X) [HU], also outside the mask.
    """

    pair: MaskedPair
    whole_reference: Floats

    @functools.cached_property
    def body(self) -> Mask:
        """Body of the reference: its largest part above -300 HU, holes filled by slice."""
        return body_of(self.whole_reference)

    @property
    def inside(self) -> Mask:
        """The mask inside which scores are computed."""
        return self.pair.mask


class Check(Protocol):
    """One check; a frozen dataclass registered in ``tasks/evaluation/checks``."""

    def __call__(self, evidence: Evidence) -> Finding:
        """Examine the evidence."""


def body_of(hu: Floats) -> Mask:
    """Largest connected part above -300 HU, its holes (lungs, gas) filled slice by slice."""
    tissue = binary_closing(np.asarray(hu) > BODY_HU, iterations=1)
    parts, count = label(tissue)
    if count == 0:
        return np.zeros(hu.shape, bool)
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    return np.stack([binary_fill_holes(plane) for plane in largest])
