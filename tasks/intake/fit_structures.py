"""Which scan each structure of a set was drawn on.

A set may hold structures in several frames of reference (DICOM PS3.3 C.8.8.5): each goes to the
scan of its own frame, or is left out with a note, because coordinates of another frame look like
right ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from synthct.data.readers.contours import DrawnOn
from synthct.data.readers.header_facts import grid_json
from synthct.data.readers.process import call
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.intake.attachment_files import Extra
from synthct.tasks.intake.fitting import BY_MANIFEST, CT, SCAN_ABSENT, Fitted, Refused, said_home
from synthct.tasks.intake.scan_index import Home, ScanIndex
from synthct.tasks.intake.structures import look_at_structures, references_of

OTHER_PERSON = Code(
    "structures-of-another",
    Severity.REJECT,
    "structures name a series of a patient with another number",
    "check the patient's id, or name the scan's patient in a manifest",
)
NO_STRUCTURE = Code(
    "no-structure-drawn",
    Severity.REJECT,
    "no structure of the set has closed contours within its scan",
    "give the series that the structures were drawn on",
)
BY_FRAME = Code(
    "structures-by-frame",
    Severity.NOTE,
    "the series that the structures name is not here: drawn on a scan in the same coordinates",
)
DRAWN = Code("structures-drawn", Severity.NOTE, "structures of a set, as masks on their scan")
LEFT_OUT = Code(
    "structures-left-out",
    Severity.NOTE,
    "structures that do not lie in their scan, are damaged, or were drawn on a scan that is absent",
)

DRAWING_S = 4.0
"""Processor seconds that drawing and writing one structure may take."""

SHOWN = 6
"""Structures named in a table's cell."""

OTHER_FRAME, CONTRADICTS, ABSENT = "other-frame", "contradicts-itself", "scan-absent"
"""Why a structure is drawn on no scan."""


def fit_structures(extra: Extra, homes: ScanIndex) -> Iterator[Fitted]:
    """The set's structures by the scans they were drawn on; raises :class:`Refused`."""
    said = call(references_of, reads=[extra.file], path=str(extra.file), uid=extra.series)
    places = [_hashed(DrawnOn.from_json(one), homes) for one in said["drawn_on"]]
    _require_own(extra, homes, places)
    home_of = {number: _home(one, extra, homes) for number, one in enumerate(places)}
    by_manifest = said_home(extra, homes)
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    found: dict[tuple[str, str], Home] = {}
    left = dict(said["unfit"])
    for number, home in home_of.items():
        if home is None and not places[number].contradicts:
            home = by_manifest
        if home is None:
            left[said["names"][number]] = _why(places[number], homes)
            continue
        key = (home.patient, home.scan)
        groups[key].append(number)
        found[key] = home
    if not groups:
        raise Refused(_nowhere(said, left))
    drawn = [one for key, numbers in groups.items()
             if (one := _drawn(extra, found[key], numbers, places, left))]  # fmt: skip
    if not drawn:
        raise Refused(NO_STRUCTURE.found(f"none of {said['count']} structures could be drawn"))
    told = [LEFT_OUT.found(f"left out: {', '.join(f'{n} ({c})' for n, c in left.items())}")]
    yield replace(drawn[0], findings=(*drawn[0].findings, *(told if left else [])))
    yield from drawn[1:]


def _nowhere(said: dict[str, Any], left: dict[str, str]) -> Finding:
    reasons = set(left.values())
    if reasons and reasons <= {CONTRADICTS}:
        return NO_STRUCTURE.found("each structure names one frame of reference, its images another")
    if not said["count"]:
        return NO_STRUCTURE.found(f"none of {len(left)} structures could be drawn")
    return SCAN_ABSENT.found("the series it names is neither here nor in the data set, or refused")


def _drawn(
    extra: Extra, home: Home, numbers: Sequence[int], places: Sequence[DrawnOn],
    left: dict[str, str],
) -> Fitted | None:  # fmt: skip
    """The structures drawn on one scan; those that cannot be drawn join ``left``."""
    seen = call(look_at_structures, reads=[extra.file], more_cpu_s=DRAWING_S * len(numbers),
                path=str(extra.file), uid=extra.series, grid=grid_json(home.grid),
                only=list(numbers))  # fmt: skip
    left.update(seen["unfit"])
    if not seen["volumes_cm3"]:
        return None
    parts = [f"{name} {cm3:.3g} cm3" for name, cm3 in seen["volumes_cm3"].items()]
    more = f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    findings = [DRAWN.found(f"on the {home.scan}: {', '.join(parts[:SHOWN])}{more}")]
    firm = {places[number].lies_on(home.frame, home.series) for number in numbers}
    if not firm <= {True}:
        findings.append(BY_MANIFEST.found(f"drawn on the {home.scan} because a manifest says so"))
    elif any(home.series not in places[number].series_uids for number in numbers):
        findings.append(BY_FRAME.found("the series that it names is not here; same coordinates"))
    return Fitted(home, home.grid, seen["digest"], tuple(findings), count=len(parts),
                  only=tuple(numbers))  # fmt: skip


def _hashed(place: DrawnOn, homes: ScanIndex) -> DrawnOn:
    """With UIDs as the de-identified copies have them."""
    frame = homes.names.uid(place.frame_uid) if place.frame_uid else ""
    series = tuple(homes.names.uid(uid) for uid in place.series_uids)
    return replace(place, frame_uid=frame, series_uids=series)


def _require_own(extra: Extra, homes: ScanIndex, places: Sequence[DrawnOn]) -> None:
    named = {uid for place in places for uid in place.series_uids}
    for home in homes.here():
        if home.series in named and home.identity not in ("", extra.identity) and not extra.listed:
            raise Refused(OTHER_PERSON.found("the series it names has another patient number"))


def _home(place: DrawnOn, extra: Extra, homes: ScanIndex) -> Home | None:
    """The scan whose series the structure names, else the one in whose coordinates it lies."""
    own = homes.of(homes.names.patient(extra.identity))
    own += [home for home in homes.here() if home.series in place.series_uids]
    fits = [home for home in own if place.lies_on(home.frame, home.series)]
    named = [home for home in fits if home.series and home.series in place.series_uids]
    if named:
        return named[0]
    if any(homes.refused(uid) for uid in place.series_uids):
        return None
    planning = [home for home in fits if home.scan == CT]
    return (planning or fits)[0] if planning or len(fits) == 1 else None


def _why(place: DrawnOn, homes: ScanIndex) -> str:
    if place.contradicts:
        return CONTRADICTS
    here = {home.series for home in homes.here()} & set(place.series_uids)
    return OTHER_FRAME if here else ABSENT
