"""``run``, ``stage``, ``report``: the chain and its parts."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from synthct.data.environment import CLUSTER
from synthct.flows.cli.options import Json, Preset, examples, printer
from synthct.flows.exits import CLEAN, EXCLUSIONS


@examples(
    "synthct run                                  the demo",
    "synthct run --preset sts --until training    your scans, up to the models",
    "synthct run --cluster gpu                    a worker a GPU of this machine",
    "synthct run --cluster tls://10.0.0.5:8786    on a Dask cluster of yours",
)
def run(
    preset: Preset = None,
    until: Annotated[
        str | None, typer.Option(metavar="STAGE", help="Stop after this stage.")
    ] = None,
    cluster: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            envvar=str(CLUSTER),
            help="Where the cases run: `here` (in the stage's own process), `local` (workers on "
            "this machine), `gpu` (one a GPU and the cores left over), `slurm` or `kubernetes` "
            "(jobs, pods: infra/KIND/cluster.yaml), or tcp://HOST:PORT, tls://HOST:PORT of a Dask "
            "scheduler. Never changes a result.",
        ),
    ] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers of local or gpu (default: one a core).")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Port of the Prefect server on loopback (default: a free one)."
        ),
    ] = None,
    as_json: Json = False,
    summary_file: Annotated[
        Path | None,
        typer.Option("--summary", metavar="FILE", help="Also write the summary there, as JSON."),
    ] = None,
) -> int:
    """Bring the whole chain up to date.

    DVC is asked first: what is current is not run again. Progress goes to standard error,
    the score table and the path of the HTML report to standard output. Stop it when you like
    (Ctrl-C, a kill, a power cut): the same command goes on where it left off.
    """
    from rich.console import Console

    from synthct.data.files import canonical_json, write_whole
    from synthct.flows.clusters.opening import check_kind
    from synthct.flows.run import summary
    from synthct.flows.run.running import RunOptions, run_project
    from synthct.flows.workspace.project import open_checkout, refresh_dag

    started = time.monotonic()
    console = Console(stderr=True)
    check_kind(cluster)
    project = open_checkout(preset, printer(console)).until(until)
    refresh_dag(project, printer(console))
    built = run_project(project, RunOptions(cluster, workers, port), console)
    seconds = time.monotonic() - started
    if summary_file:
        write_whole(summary_file, canonical_json(summary.as_json(project, built, seconds)))
    if as_json:
        typer.echo(json.dumps(summary.as_json(project, built, seconds), indent=2))
    else:
        if not built:
            typer.echo(f"{project.name}: everything is current")
        summary.show(Console(), project, built, seconds)
    return EXCLUSIONS if summary.exclusions(project) else CLEAN


@examples(
    "synthct stage ingestion",
    "synthct stage registration --preset sts",
)
def stage(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the stage.")],
    preset: Preset = None,
) -> int:
    """Run one stage, whether or not it is current.

    The same as `python -m synthct.tasks NAME`. DVC does not see it: afterwards `dvc commit`
    records the out, and later stages become stale.
    """
    from rich.console import Console

    from synthct.flows.run.stages import run_alone
    from synthct.flows.run.summary import exclusions
    from synthct.flows.workspace.project import open_checkout

    project = open_checkout(preset, printer(Console(stderr=True)))
    if code := run_alone(project, name):
        return code
    return EXCLUSIONS if any(row["stage"] == name for row in exclusions(project)) else CLEAN


@examples("synthct report", "synthct report --preset sts --out ~/sts-report")
def report(
    preset: Preset = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Copy the page there.", file_okay=False),
    ] = None,
) -> int:
    """Find, or copy, the offline HTML report; a stale one is built anew."""
    from rich.console import Console

    from synthct.flows.run.reporting import copy_page, fresh_page
    from synthct.flows.workspace.project import open_checkout, refresh_dag

    console = Console(stderr=True)
    project = open_checkout(preset, printer(console))
    refresh_dag(project, printer(console))
    page = fresh_page(project, console)
    typer.echo(copy_page(page, out.expanduser()) if out else page.relative_to(project.root))
    return CLEAN
