"""What a check is given and what it finds."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.ndimage import binary_closing, binary_fill_holes, label

from synthct.tasks.evaluation.pair import Floats, Mask, MaskedPair

BODY_HU = -300.0
"""A body outline lies where HU cross this."""


@dataclass(frozen=True)
class Finding:
    """One check's answer.

    Parameters
    ----------
    check
        Its name.
    value, limit, unit
        What was measured and where suspicion starts; none where it cannot be measured.
    suspect
        Whether the value lies beyond the limit.
    told
        What that means, as a sentence.
    """

    check: str
    value: float | None
    limit: float
    unit: str
    suspect: bool
    told: str

    def as_json(self) -> dict[str, Any]:
        """Plain JSON; nine digits, what is beyond hangs on the order of adding."""
        value = None if self.value is None else float(f"{self.value:.9g}")
        return {**vars(self), "value": value}


@dataclass(frozen=True, eq=False)
class Evidence:
    """A pair before its outside was emptied, with what several checks need, computed once.

    Parameters
    ----------
    pair
        The masked pair that is scored.
    whole_reference
        The reference CT (Z, Y, X) [HU] as it came, outside the mask too.
    """

    pair: MaskedPair
    whole_reference: Floats

    @functools.cached_property
    def body(self) -> Mask:
        """The reference's own body: its largest part above -300 HU, holes filled by slice."""
        return body_of(self.whole_reference)

    @property
    def inside(self) -> Mask:
        """Where scores look."""
        return self.pair.mask


class Check(Protocol):
    """One suspicion; a frozen dataclass registered in ``tasks/evaluation/checks``."""

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
