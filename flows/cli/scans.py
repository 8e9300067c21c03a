"""``ingest``: scans into ``data/raw``, remembered by DVC."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synthct.data.errors import MachineError, UsageError
from synthct.flows.cli.options import Json, examples
from synthct.flows.exits import CLEAN, EXCLUSIONS

if TYPE_CHECKING:
    from rich.table import Table

    from synthct.tasks.intake import IntakePlan

_REGIONS = ("head-neck", "thorax", "abdomen", "other")
_REGIONS_TOLD = f"{', '.join(_REGIONS[:-1])} or {_REGIONS[-1]}"


@examples(
    "synthct ingest ~/scans --dataset sts --dry-run    show only, write nothing",
    "synthct ingest ~/P1 ~/P2.zip --dataset sts --region thorax",
    "synthct ingest ~/nifti --dataset trial --manifest scans.csv --licence 'CC BY 4.0'",
)
def ingest(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SRC...", help="Folders (any nesting), zips of DICOM, image files."),
    ],
    dataset: Annotated[str, typer.Option(metavar="NAME", help="Folder below data/raw.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the table, write nothing.")
    ] = False,
    region: Annotated[str, typer.Option(metavar="REGION", help=f"{_REGIONS_TOLD}.")] = "other",
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="Columns path, patient, modality, region: what files hide."
        ),
    ] = None,
    to_fill_in: Annotated[
        Path | None,
        typer.Option(
            "--write-manifest",
            metavar="CSV",
            help="Write a manifest of what was found, to fill in; it names paths and patients.",
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Licence of the scans; it travels to the model card."),
    ] = None,
    cite: Annotated[
        str, typer.Option(metavar="TEXT", help="What users of the scans must cite.")
    ] = "",
    non_commercial: Annotated[
        bool, typer.Option("--non-commercial", help="The licence forbids commercial use.")
    ] = False,
    deface: Annotated[
        bool, typer.Option("--deface", help="Remove faces from the copies of head-neck scans.")
    ] = False,
    places: Annotated[
        bool,
        typer.Option(
            "--places", help="Show the files behind each scan: their names may name patients."
        ),
    ] = False,
    as_json: Json = False,
) -> int:
    """Take in scans: de-identified copies, tracked by DVC.

    They go to data/raw/NAME. Every scan is read once and checked; the table says what is new,
    known already or refused, and why, and which scans pair up. A manifest overrides patients,
    modalities, regions and the choice between scans. Names of files and folders are shown on
    request only (--places). Originals are not touched. Exit code 3 when a scan was refused.
    """
    from synthct.flows.workspace.project import find_root
    from synthct.tasks.ingestion.dataset import Licence
    from synthct.tasks.intake import plan_intake, take_in
    from synthct.tasks.intake.lock import intake_lock
    from synthct.tasks.intake.manifest import write_manifest

    raw = find_root() / "data" / "raw" / _checked_name(dataset)
    _require_region(region)
    if licence is None and (cite or non_commercial):
        raise UsageError(
            "a citation or a restriction belongs to a licence",
            where="--cite, --non-commercial",
            remedy="name it with --licence",
            code="licence-missing",
        )
    terms = licence and Licence(name=licence, cite=cite, non_commercial=non_commercial)
    with _bar("look") as progress:
        plan = plan_intake(
            sources,
            dataset,
            raw,
            manifest,
            region=region,
            licence=terms or None,
            deface=deface,
            progress=progress,
        )
    if not as_json:
        _show(plan)
    if places:
        for label, place in plan.places.items():
            typer.echo(f"{label}: {place}", err=True)
    if to_fill_in is not None:
        write_manifest(to_fill_in, plan.to_fill_in)
    added: tuple[str, ...] = ()
    if not dry_run and (plan.new or plan.new_extras or terms):
        # The data set is held until DVC knows it: another intake must not change it under DVC.
        with intake_lock(raw, _note), _bar("copy") as progress:
            result = take_in(plan, progress)
            added = result.added
            _track(raw)
        for name in result.overtaken:
            _note(f"{name} came into the data set meanwhile, and stays as it is there")
    refused = [row for row in plan.rows if row.status == "refused"]
    if as_json:
        typer.echo(json.dumps(_document(plan, added), indent=2))
    else:
        _tell(plan, added, dry_run, len(refused))
    return EXCLUSIONS if refused else CLEAN


def _note(text: str) -> None:
    typer.echo(f"note: {text}", err=True)


def _checked_name(dataset: str) -> str:
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]*", dataset):
        return dataset
    raise UsageError(
        "a data set's name has lower-case letters, digits, - and _",
        where="--dataset",
        got=repr(dataset),
        code="bad-dataset-name",
    )


def _require_region(region: str) -> None:
    if region not in _REGIONS:
        raise UsageError(
            f"a region is {_REGIONS_TOLD}",
            where="--region",
            got=repr(region),
            code="unknown-region",
        )


def _track(raw: Path) -> None:
    """Have DVC remember the data set: its ``.dvc`` file is what git holds of it."""
    from synthct.flows.workspace.freshness import dvc_command, patiently
    from synthct.flows.workspace.project import QUIET, find_root

    command = dvc_command("--wait-for-lock", "add", "--quiet", str(raw))
    done = patiently(command, find_root(), {**os.environ, **QUIET})
    if done.returncode != 0:
        raise MachineError(
            "DVC can remember the data set",
            where=str(raw),
            got=" ".join(done.stderr.split()),
            remedy=f"the copies are in place: dvc add {raw}",
            code="dvc-add",
        )


@contextlib.contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int, str], None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(what, total=None)
        yield lambda done, total, name: bars.update(bar, completed=done, total=total)


def _show(plan: IntakePlan) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for heading in (
        "source", "patient", "scan", "region", "size", r"spacing \[mm]", "axes", "range", "status",
    ):  # fmt: skip
        table.add_column(heading, no_wrap=True)
    table.add_column("findings")
    for row in plan.rows:
        cells = (
            row.place,
            row.patient,
            row.scan,
            row.region,
            " x ".join(str(n) for n in row.size) if row.orientation else "",
            " x ".join(f"{v:.3g}" for v in row.spacing_mm) if row.orientation else "",
            row.orientation,
            f"{row.value_range[0]:g} to {row.value_range[1]:g}" if row.orientation else "",
            row.status,
            "; ".join(f"{one.severity}: {one.sentence}" for one in row.findings),
        )
        table.add_row(*(Text(cell) for cell in cells))
    console = Console()
    if not console.is_terminal:  # in a file or a pipe nobody's window is narrow
        console = Console(width=max(console.width, 160))
    if plan.rows:
        console.print(table)
        console.print(_pairs(plan))


def _pairs(plan: IntakePlan) -> Table:
    """A row a patient: its scans, what lies beside them, and the cases they make."""
    from rich.table import Table

    from synthct.tasks.intake.rows import REFUSED

    table = Table("patient", "scans", "beside", "cases")
    good = [row for row in plan.rows if row.status != REFUSED]
    extras = {extra.row for extra in plan.extras}
    for patient in sorted({row.patient for row in plan.rows if row.patient}):
        own = [row for row in good if row.patient == patient]
        scans = [row.scan for row in own if row not in extras]
        beside = [row.scan for row in own if row in extras]
        sources = [scan for scan in scans if scan != "ct"] if "ct" in scans else []
        cases = ", ".join(f"{patient}_{scan} (to its ct)" for scan in sources)
        table.add_row(
            patient, ", ".join(scans) or "none", ", ".join(beside), cases or "none: no pair"
        )
    return table


def _tell(plan: IntakePlan, added: tuple[str, ...], dry_run: bool, refused: int) -> None:
    for note in plan.notes:
        _note(note)
    for row in plan.rows:
        for finding in row.findings if row.status == "refused" else ():
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            typer.echo(f"refused: {row.place}: {finding.sentence}{remedy}", err=True)
    new = len(plan.new) + len(plan.new_extras)
    known = len(plan.rows) - new - refused
    took = f"{new} would be taken in" if dry_run else f"{len(added)} taken in"
    typer.echo(f"data/raw/{plan.dataset}: {took}, {known} known already, {refused} refused")


def _document(plan: IntakePlan, added: tuple[str, ...]) -> dict[str, Any]:
    return {
        "dataset": plan.dataset,
        "added": list(added),
        "scans": [
            {**asdict(row), "findings": [finding.as_json() for finding in row.findings]}
            for row in plan.rows
        ],
        "notes": list(plan.notes),
    }
