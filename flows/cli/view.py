"""``view``: one case or given scans as a page of linked pictures, opened in the browser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthct.flows.cli.options import (
    Json,
    Overwrite,
    Preset,
    Series,
    Source,
    examples,
    print_json,
    refuse_existing,
)
from synthct.flows.exits import CLEAN

if TYPE_CHECKING:
    from synthct.tasks.report.viewer.page import ViewerCase

FOLDER = "views"
"""Pages of cases are kept there, below the checkout's private folder."""


@examples(
    "synthct view AB-01_mr                         a scored case of the demo",
    "synthct view P-5a508e3e_mr --preset sts51 --no-open",
    "synthct view --source mr.nii.gz --ct moved/moved.mha --sct sct.nii.gz --out look.html",
)
def view(
    case: Annotated[
        str | None, typer.Argument(metavar="CASE", help="A scored case of the workspace.")
    ] = None,
    preset: Preset = None,
    source: Annotated[
        Path | None, typer.Option(metavar="SCAN", help="MR or CBCT, instead of a CASE.")
    ] = None,
    source_modality: Annotated[Source, typer.Option(help="Modality of --source.")] = Source.MR,
    ct: Annotated[
        Path | None, typer.Option(metavar="SCAN", help="CT [HU], instead of a CASE.")
    ] = None,
    sct: Annotated[
        Path | None, typer.Option(metavar="SCAN", help="Synthetic CT [HU], instead of a CASE.")
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(metavar="IMAGE", help="Body mask (> 0): the difference is shown inside."),
    ] = None,
    source_series: Series = "",
    ct_series: Series = "",
    sct_series: Series = "",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Page to write (default: .synthct/views/WORKSPACE/CASE.html; for scans "
            "view.html).",
        ),
    ] = None,
    open_it: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser.")
    ] = True,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> int:
    """Look through a case: source, CT, synthetic CT and their difference in linked planes.

    Writes one HTML file that contains the volumes. It works offline and without a server: it can be
    kept, copied and opened on a phone. It holds images of a patient: keep it where patient data may
    be. Volumes of more than 3 million voxels are averaged, and the page says so.
    """
    from synthct.data.errors import UsageError
    from synthct.data.files import write_whole
    from synthct.tasks.report.viewer.page import write_page

    scans = (source, ct, sct, mask)
    if case is not None and any(scan is not None for scan in scans):
        raise UsageError(
            "a case and scans are named",
            rule="name a CASE, or scans by --source, --ct, --sct and --mask",
            where="view",
            code="case-and-scans",
        )
    page = out
    if case is not None:
        viewed, page = _case(case, preset, out)
    else:
        named = {"source": source_series, "ct": ct_series, "sct": sct_series}
        viewed = _scans(source, ct, sct, mask, source_modality, named)
        page = out or Path("view.html")
    if out is not None or case is None:
        refuse_existing(page, overwrite=overwrite)
    write_whole(page, write_page(viewed))
    megabytes = page.stat().st_size / 1e6
    opened = open_it and _open(page)
    if as_json:
        print_json({"page": str(page), "megabytes": round(megabytes, 1), "opened": opened})
    else:
        typer.echo(f"{page}: {megabytes:.1f} MB" + ("" if opened else "; open it in a browser"))
    return CLEAN


def _case(case: str, preset: str | None, out: Path | None) -> tuple[ViewerCase, Path]:
    from synthct.flows.workspace.presets import open_workspace
    from synthct.flows.workspace.project import PRIVATE, find_root, open_project
    from synthct.tasks.report.viewer.page import case_of_workspace

    root = find_root()
    project = open_project(root, open_workspace(root, preset).workspace)
    folders = [project.stage(name) for name in ("registration", "evaluation")]
    registration, evaluation = (root / each.out if each else root for each in folders)
    viewed = case_of_workspace(registration, evaluation, case)
    return viewed, out or root / PRIVATE / FOLDER / project.name / f"{case}.html"


def _scans(
    source: Path | None,
    ct: Path | None,
    sct: Path | None,
    mask: Path | None,
    kind: Source,
    series: Mapping[str, str],
) -> ViewerCase:
    from synthct.data.volume import Modality
    from synthct.tasks.report.viewer.page import case_of_files

    named = next((path for path in (sct, ct, source) if path is not None), None)
    return case_of_files(
        named.name if named else "", source=source, ct=ct, sct=sct, mask=mask,
        source_modality=Modality[kind.name], series=series,
    )  # fmt: skip


def _open(page: Path) -> bool:
    """Whether a browser with a screen took the page; a text browser would fill the terminal."""
    import os
    import webbrowser

    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    return webbrowser.open(page.resolve().as_uri())
