"""``ingest``: import scans into ``data/raw`` and track them with DVC."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import synthct
from synthct.flows.cli.options import Json, PatientFrom, examples, print_json
from synthct.flows.exits import CLEAN, EXCLUSIONS

if TYPE_CHECKING:
    from rich.table import Table

    from synthct import Intake


@examples(
    "synthct ingest ~/scans --dataset sts --dry-run    check and list the scans only",
    "synthct ingest ~/P1 ~/P2.zip --dataset sts --region thorax",
    "synthct ingest ~/export --dataset trial --patient-from 1    the patient is the first folder",
    "synthct ingest ~/nifti --dataset trial --manifest scans.csv --licence 'CC BY 4.0'",
)
def ingest(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SRC...", help="Folders (searched recursively), zips of DICOM, image files."
        ),
    ],
    dataset: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the data set: scans go to data/raw/NAME.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check the scans and print the table.")
    ] = False,
    region: Annotated[
        str,
        typer.Option(
            metavar="REGION",
            help="Body region of scans without one in the manifest: head-neck, thorax, abdomen or "
            "other.",
        ),
    ] = "other",
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Table with the columns path, patient, modality, region, for what the files do "
            "not state (NIfTI, MHA and NRRD have neither patient nor modality).",
        ),
    ] = None,
    patient_from: PatientFrom = None,
    to_fill_in: Annotated[
        Path | None,
        typer.Option(
            "--write-manifest",
            metavar="CSV",
            help="Write a manifest template that lists the scans found. It contains paths and "
            "patients: do not share it.",
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Licence of the scans; it is copied into the model cards."
        ),
    ] = None,
    cite: Annotated[
        str, typer.Option(metavar="TEXT", help="Citation that the licence requires.")
    ] = "",
    non_commercial: Annotated[
        bool, typer.Option("--non-commercial", help="The licence forbids commercial use.")
    ] = False,
    deface: Annotated[
        bool, typer.Option("--deface", help="Remove the face in the copies of head-neck scans.")
    ] = False,
    places: Annotated[
        bool,
        typer.Option(
            "--places", help="Print the source path of each scan; paths may contain patient names."
        ),
    ] = False,
    as_json: Json = False,
) -> int:
    """Import scans: de-identified copies in data/raw/NAME, tracked by DVC.

    Every scan is read and checked. The table lists each as new, known (already in the data set) or
    refused with the reason, and shows which scans of a patient form pairs with the CT. A manifest
    overrides patients, modalities and regions. The originals are not modified. Exit code 3: a scan
    was refused.
    """
    from synthct.flows.workspace.freshness import track
    from synthct.flows.workspace.project import find_root

    root = find_root()
    raw = root / "data" / "raw" / dataset

    def planned(seen: Intake) -> None:
        bars.close()
        if not as_json:
            show(seen)
        for label, place in seen.plan.places.items() if places else ():
            typer.echo(f"{label}: {place}", err=True)

    with contextlib.closing(_Bars()) as bars:
        found = synthct.ingest(
            sources,
            raw,
            dataset=dataset,
            region=region,
            manifest=manifest,
            patient_from=patient_from,
            licence=licence,
            cite=cite,
            non_commercial=non_commercial,
            deface=deface,
            dry_run=dry_run,
            to_fill_in=to_fill_in,
            planned=planned,
            # `dvc add` runs while the data set is locked: no other import may change it meanwhile.
            written=lambda _: track(root, raw),
            progress=bars.show,
            tell=note,
        )
    if as_json:
        print_json(found.as_json())
    else:
        print_result(found, dry_run)
    return EXCLUSIONS if found.plan.open_questions else CLEAN


def note(text: str) -> None:
    """Print a note on standard error."""
    typer.echo(f"note: {text}", err=True)


class _Bars:
    """One progress bar per phase on standard error; removed while something else is printed."""

    def __init__(self) -> None:
        self._shown = contextlib.ExitStack()
        self._phase = ""
        self._update: Callable[[int, int], None] = lambda done, total: None
        self.show("look", 0, 0)

    def show(self, phase: str, done: int, total: int) -> None:
        """Update the bar of a phase; with ``total`` 0 it shows activity only."""
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
        """Remove the bar."""
        self._shown.close()
        self._phase = ""


def show(found: Intake) -> None:
    """Print the scans and the pairs that they form."""
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
    if not console.is_terminal:  # a file or a pipe has no width to fit into
        console = Console(width=max(console.width, 160))
    if found.rows:
        console.print(table)
        console.print(_pairs(found))


def _pairs(found: Intake) -> Table:
    """One row per patient: scans, masks, structures and doses, and the cases they form."""
    from rich.table import Table

    table = Table("patient", "scans", "masks, structures, doses", "cases")
    refused = set(found.refused)
    good = [row for row in found.rows if row not in refused]
    extras = {extra.row for extra in found.plan.attachments}
    for patient in sorted({row.patient for row in found.rows if row.patient}):
        own = [row for row in good if row.patient == patient]
        scans = [row.scan for row in own if row not in extras]
        attached = [row.scan for row in own if row in extras]
        sources = [scan for scan in scans if scan != "ct"] if "ct" in scans else []
        cases = ", ".join(f"{patient}_{scan} (to its ct)" for scan in sources)
        table.add_row(
            patient, ", ".join(scans) or "none", ", ".join(attached), cases or "none: no pair"
        )
    return table


def print_result(found: Intake, dry_run: bool) -> None:
    """Print notes, refusals and what was imported."""
    print_reasons(found)
    plan, refused = found.plan, len(found.refused)
    new = len(plan.new) + len(plan.new_attachments)
    known = len(found.rows) - new - refused
    imported = f"{new} would be imported" if dry_run else f"{len(found.added)} imported"
    typer.echo(f"data/raw/{plan.dataset}: {imported}, {known} already known, {refused} refused")


def print_reasons(found: Intake) -> None:
    """Print notes and refusals."""
    for text in found.notes:
        note(text)
    for name in found.overtaken:
        note(f"{name} was added by another import meanwhile and is left as it is")
    for row in found.refused:
        for finding in row.findings:
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            typer.echo(f"refused: {row.place}: {finding.sentence}{remedy}", err=True)
