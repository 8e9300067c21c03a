"""``compare``: two workspaces side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from synthct.flows.cli.options import Json, Overwrite, examples, print_json, refuse_existing
from synthct.flows.exits import CLEAN

DEMO = "demo"
"""Name of the workspace in the root."""


@examples(
    "synthct compare demo wide           the demo, and a workspace with other params",
    "synthct compare demo wide --out compare.html    a page with pictures, too",
    "synthct compare sts sts_long --json",
)
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A workspace; `demo`: the root.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another workspace.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a page with pictures of the same cases."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> int:
    """Compare the models of two workspaces on the cases that both have scored.

    Prints the mean scores and their difference (B less A) with a 95 % interval over cases, whether
    each model is released, and the params that differ. The page of --out works offline; it holds
    images of patients: keep it where patient data may be.
    """
    from synthct.flows.run.comparing import compare as compared
    from synthct.flows.workspace.presets import open_workspace
    from synthct.flows.workspace.project import find_root, open_project

    refuse_existing(out, overwrite=overwrite)
    root = find_root()
    projects = [
        open_project(root, open_workspace(root, None if name == DEMO else name).workspace)
        for name in (first, second)
    ]
    document = compared(*projects)
    if out is not None:
        from synthct.data.files import write_whole
        from synthct.flows.run.comparison_page import comparison_page

        write_whole(out, comparison_page(projects[0], projects[1], document))
    if as_json:
        print_json({**document, "page": str(out)} if out else document)
    else:
        _show(document)
        if out is not None:
            typer.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB; open it in a browser")
    return CLEAN


def _show(document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    first, second = document["first"], document["second"]
    table = Table(title="models on the same unseen cases (means)", box=None, padding=(0, 1))
    for heading in ("source", "against", "metric"):
        table.add_column(heading)
    for heading in ("cases", first, second, f"{second} - {first}", "95 % interval"):
        table.add_column(heading, justify="right")
    for row in document["scores"]:
        interval = "too few" if row["low"] is None else f"{row['low']:+.4g} to {row['high']:+.4g}"
        table.add_row(
            row["source"], row["reference"], row["metric"], str(row["cases"]),
            f"{row['first']:.4g}", f"{row['second']:.4g}", f"{row['difference']:+.4g}", interval,
        )  # fmt: skip
    Console().print(table)
    for name, models in document["releases"].items():
        for model in models:
            typer.echo(
                f"{name}: {model['source']} {model['state']}, {model['suspect_cases']} of "
                f"{model['checked_cases']} cases suspect"
            )
    for key, (one, other) in document["params"].items():
        typer.echo(f"{key}: {json.dumps(one)} in {first}, {json.dumps(other)} in {second}")
