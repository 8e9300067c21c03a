"""A scan as it was read to a scan that may be believed: one way for ingestion and prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from synthct.data.volume import Grid, Volume
from synthct.tasks.ingestion.body import body_mask
from synthct.tasks.ingestion.canonical import canonical, stored_type
from synthct.tasks.ingestion.couch import COUCH, without_couch
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.given_mask import GIVEN, chosen
from synthct.tasks.ingestion.guards import GUARDS
from synthct.tasks.ingestion.params import IngestionParams

OBLIQUE = Code(
    "oblique", Severity.REPAIR, "an oblique acquisition was resampled onto an axes-aligned grid"
)

Outline = Callable[[Volume], Volume]
"""From an upright scan to its body mask."""


@dataclass(frozen=True, eq=False)
class CheckedVolume:
    """A scan on an axes-aligned grid with its body outline, and what the guards found.

    Parameters
    ----------
    volume, mask
        Upright scan (repaired where a guard says so) and body mask, on one grid.
    findings
        Of all guards.
    resampled
        Whether the acquisition was oblique.
    """

    volume: Volume
    mask: Volume
    findings: tuple[Finding, ...]
    resampled: bool


def check_volume(
    scan: Volume,
    region: str,
    params: IngestionParams,
    *,
    outline: Outline | None = None,
    given: Volume | None = None,
) -> CheckedVolume:
    """Turn a scan upright, find the body, run every guard.

    ``outline`` finds the body in another way; ``given`` is an upright body mask that came with
    the scan and is taken where it is sane (:mod:`synthct.tasks.ingestion.given_mask`).
    """
    scan, early = guarded(scan, None, params)
    turned, resampled = canonical(scan)
    turned = stored_type(turned)
    mask, couch_mm = (
        (outline(turned), 0.0)
        if outline
        else without_couch(body_mask(turned, params.body, region), params.body)
    )
    mask, told = chosen(mask, given)
    turned, late = guarded(turned, mask, params)
    late += told
    if couch_mm and not any(one.code == GIVEN.name for one in told):
        late.append(COUCH.found(f"a couch of {couch_mm:.0f} mm was cut off the body outline"))
    tilt = [oblique(scan.grid)] if resampled else []
    return CheckedVolume(turned, mask, (*early, *late, *tilt), resampled)


def guarded(
    volume: Volume, mask: Volume | None, params: IngestionParams
) -> tuple[Volume, list[Finding]]:
    """The volume after the guards that need no mask, or after those that do, and their findings."""
    findings: list[Finding] = []
    for name in GUARDS.names():
        guard = GUARDS.build(name, params.guards.get(name, {}), where=f"ingestion.guards.{name}")
        if guard.needs_mask == (mask is not None):
            volume, found = guard(volume, mask)
            findings += found
    return volume, findings


def oblique(grid: Grid) -> Finding:
    """Says by how much an oblique acquisition was turned."""
    cosines = np.abs(np.asarray(grid.direction)).max(axis=0)
    degrees = float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))
    sentence = f"oblique by up to {degrees:.1f} degrees: resampled onto an axes-aligned grid"
    return OBLIQUE.found(sentence)
