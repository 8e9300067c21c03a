"""The CT of each case under each alignment that the study trains or scores on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from synthct.data.errors import UsageError
from synthct.tasks.pipeline.artefacts import CASE, CT, TRUTH_CT, UNREGISTERED_CT
from synthct.tasks.pipeline.stage import StageContext, run_units
from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.params import RegistrationParams
from synthct.tasks.registration.run import case_units

OWN = {"truth": TRUTH_CT, "registered": CT, "delivered": UNREGISTERED_CT}
"""Alignments in the output of the registration stage, and their files."""


def check_alignments(names: Iterable[str]) -> None:
    """Raise :class:`UsageError` unless every name is a known alignment."""
    unknown = sorted({*names} - {*OWN, *METHODS.names()})
    if unknown:
        raise UsageError(
            f"no alignment is called {', '.join(unknown)}",
            rule="an alignment is `truth`, `registered`, `delivered` or a registration method",
            where="params.yaml: study",
            remedy=f"methods: {', '.join(METHODS.names())}",
            code="unknown-alignment",
        )


def align(
    context: StageContext,
    out: Path,
    names: Iterable[str],
    source: str,
    registration: RegistrationParams,
) -> dict[str, dict[str, Path]]:
    """``{alignment: {case: stored CT}}``; cases whose registration fails are missing.

    Methods other than the workspace's own are run here, into ``out/aligned/METHOD/CASE``, on the
    same working grid, so that only the CT differs.
    """
    registered = context.artefact("registration")
    found: dict[str, dict[str, Path]] = {}
    for name in sorted({*names}):
        if name in OWN:
            cases = {file.parent.name: file.parent for file in registered.glob(f"*/{CASE}")}
            stored = {case: folder / OWN[name] for case, folder in cases.items()}
        else:
            stored = _by_method(context, out, name, source, registration)
        found[name] = {case: path for case, path in stored.items() if path.is_dir()}
    return found


def _by_method(
    context: StageContext, out: Path, method: str, source: str, registration: RegistrationParams
) -> dict[str, Path]:
    own = method == registration.method
    options = registration.method_options if own else {}
    wanted = registration.model_copy(
        update={"method": method, "method_options": options, "methods": {}}
    )
    units = [unit for unit in case_units(context, wanted) if unit.name.endswith(f"_{source}")]
    folder = out / "aligned" / method
    good = run_units(context, f"study/aligned/{method}", folder, units)
    return {case: folder / case / OWN["registered"] for case in good}
