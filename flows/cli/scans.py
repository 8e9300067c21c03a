"""``ingest``: scans into ``data/raw``, remembered by DVC."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import synthct
from synthct.flows.cli.options import Json, examples
from synthct.flows.exits import CLEAN, EXCLUSIONS

if TYPE_CHECKING:
    from rich.table import Table

    from synthct import Intake


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
    region: Annotated[
        str, typer.Option(metavar="REGION", help="head-neck, thorax, abdomen or other.")
    ] = "other",
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
    from synthct.flows.workspace.freshness import track
    from synthct.flows.workspace.project import find_root

    root = find_root()
    raw = root / "data" / "raw" / dataset

    def planned(seen: Intake) -> None:
        bars.close()
        if not as_json:
            _show(seen)
        for label, place in seen.plan.places.items() if places else ():
            typer.echo(f"{label}: {place}", err=True)

    with contextlib.closing(_Bars()) as bars:
        found = synthct.ingest(
            sources,
            raw,
            dataset=dataset,
            region=region,
            manifest=manifest,
            licence=licence,
            cite=cite,
            non_commercial=non_commercial,
            deface=deface,
            dry_run=dry_run,
            to_fill_in=to_fill_in,
            planned=planned,
            # DVC is told while the data set is held: another intake must not change it meanwhile.
            written=lambda _: track(root, raw),
            progress=bars.show,
            tell=_note,
        )
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
    else:
        _tell(found, dry_run)
    return EXCLUSIONS if found.refused else CLEAN


def _note(text: str) -> None:
    typer.echo(f"note: {text}", err=True)


class _Bars:
    """One bar a phase on the standard error; gone while something else is printed."""

    def __init__(self) -> None:
        self._shown = contextlib.ExitStack()
        self._phase = ""
        self._update: Callable[[int, int], None] = lambda done, total: None
        self.show("look", 0, 0)

    def show(self, phase: str, done: int, total: int) -> None:
        """The bar of the phase as it stands now; without a total it only moves."""
        if phase != self._phase:
            self.close()
            self._open(phase)
        self._update(done, total)

    def _open(self, phase: str) -> None:
        from rich.console import Console
        from rich.progress import Progress

        bars = self._shown.enter_context(Progress(console=Console(stderr=True), transient=True))
        bar = bars.add_task(phase, total=None)
        self._phase = phase
        self._update = lambda done, total: bars.update(bar, completed=done, total=total or None)

    def close(self) -> None:
        """Take the bar away."""
        self._shown.close()
        self._phase = ""


def _show(found: Intake) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for heading in (
        "source", "patient", "scan", "region", "size", r"spacing \[mm]", "axes", "range", "status",
    ):  # fmt: skip
        table.add_column(heading, no_wrap=True)
    table.add_column("findings")
    for row in found.rows:
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
    if found.rows:
        console.print(table)
        console.print(_pairs(found))


def _pairs(found: Intake) -> Table:
    """A row a patient: its scans, what lies beside them, and the cases they make."""
    from rich.table import Table

    table = Table("patient", "scans", "beside", "cases")
    refused = set(found.refused)
    good = [row for row in found.rows if row not in refused]
    extras = {extra.row for extra in found.plan.attachments}
    for patient in sorted({row.patient for row in found.rows if row.patient}):
        own = [row for row in good if row.patient == patient]
        scans = [row.scan for row in own if row not in extras]
        beside = [row.scan for row in own if row in extras]
        sources = [scan for scan in scans if scan != "ct"] if "ct" in scans else []
        cases = ", ".join(f"{patient}_{scan} (to its ct)" for scan in sources)
        table.add_row(
            patient, ", ".join(scans) or "none", ", ".join(beside), cases or "none: no pair"
        )
    return table


def _tell(found: Intake, dry_run: bool) -> None:
    for note in found.notes:
        _note(note)
    for name in found.overtaken:
        _note(f"{name} came into the data set meanwhile, and stays as it is there")
    for row in found.refused:
        for finding in row.findings:
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            typer.echo(f"refused: {row.place}: {finding.sentence}{remedy}", err=True)
    plan, refused = found.plan, len(found.refused)
    new = len(plan.new) + len(plan.new_attachments)
    known = len(found.rows) - new - refused
    took = f"{new} would be taken in" if dry_run else f"{len(found.added)} taken in"
    typer.echo(f"data/raw/{plan.dataset}: {took}, {known} known already, {refused} refused")
