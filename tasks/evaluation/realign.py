"""Other alignments of the test cases, registered by the evaluation stage to measure the floor."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synthct.data.errors import UsageError
from synthct.tasks.evaluation.floor import FLOOR, compare_alignments
from synthct.tasks.evaluation.params import FloorEntry
from synthct.tasks.pipeline.artefacts import CT, MASK
from synthct.tasks.pipeline.stage import StageContext, Unit, run_units

ALIGNED = "floor"
"""Sub-folder of the output with a folder of registrations for each entry."""


def measure_floor(
    context: StageContext, out: Path, cases: Sequence[str], entries: Sequence[FloorEntry]
) -> dict[str, Any]:
    """Register the cases again for each entry; ``{case: floor.json}`` of those that succeeded.

    Raises
    ------
    UsageError
        Entries share a name, or one is not a valid section ``registration``.
    """
    if not entries:
        return {}
    _check(entries)
    for entry in entries:
        place = f"{ALIGNED}/{entry.name}"
        units = _registrations(context, entry, cases)
        run_units(_without_exclusion_limit(context), f"evaluation/{place}", out / place, units)
    units = [unit for case in cases if (unit := _comparison(context, out / ALIGNED, case, entries))]
    place = f"{ALIGNED}/compared"
    good = run_units(_without_exclusion_limit(context), f"evaluation/{place}", out / place, units)
    return {case: json.loads((out / place / case / FLOOR).read_text()) for case in good}


def _check(entries: Sequence[FloorEntry]) -> None:
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names) or "compared" in names:
        raise UsageError(
            f"the entries cannot be told apart by the names {', '.join(names)}",
            rule="each entry of evaluation.floor has a name of its own, and none is called "
            "'compared'",
            where="evaluation.floor",
            remedy="rename the entry",
            code="floor-names",
        )


def _without_exclusion_limit(context: StageContext) -> StageContext:
    """Any number of failures is accepted: a case without another registration has no floor."""
    return dataclasses.replace(context, max_excluded_fraction=1.0)


def _registrations(context: StageContext, entry: FloorEntry, cases: Sequence[str]) -> list[Unit]:
    from synthct.tasks.registration.params import RegistrationParams
    from synthct.tasks.registration.run import case_units

    seeded = dataclasses.replace(context, seed=context.seed + entry.seed)
    # The pipeline's section registration is the base. If it changes, the registration stage's
    # output, which this stage reads, changes too, so DVC needs no second dependency.
    own = context.section("registration", RegistrationParams).as_json()
    try:
        params = RegistrationParams.from_json({**own, **entry.registration})
    except ValueError as error:
        raise UsageError(
            f"the alignment {entry.name!r} is not a valid section registration: {error}",
            where="evaluation.floor",
            remedy="correct the keys under `registration` of this entry",
            code="floor-params",
        ) from error
    return [unit for unit in case_units(seeded, params) if unit.name in set(cases)]


def _comparison(
    context: StageContext, folder: Path, case: str, entries: Sequence[FloorEntry]
) -> Unit | None:
    chain = context.artefact("registration") / case
    found = [entry.name for entry in entries if (folder / entry.name / case / CT).is_dir()]
    if not found:
        return None
    inputs = {"ct": chain / CT, "mask": chain / MASK}
    for number, name in enumerate(found):
        inputs[f"moved_{number}"] = folder / name / case / CT
    return Unit(case, compare_alignments, inputs, {"names": found})
