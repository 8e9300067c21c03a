"""``run``, ``forecast``, ``stage``, ``report``: the chain, its time, one stage, its report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthct.flows.cli.options import (
    Cluster,
    DryRun,
    Json,
    PrefectPort,
    Preset,
    Workers,
    examples,
    print_json,
    printer,
)
from synthct.flows.cli.scans import note
from synthct.flows.exits import CLEAN, EXCLUSIONS

if TYPE_CHECKING:
    from synthct.flows.run.expected import StageTime


@examples(
    "synthct run                                  the demo",
    "synthct run --preset sts --dry-run           which stages would run, and for how long",
    "synthct run --preset sts --until training    your own scans, up to the trained models",
    "synthct run --cluster gpu                    one worker per GPU of this machine",
    "synthct run --cluster tls://10.0.0.5:8786    workers of a running Dask cluster",
)
def run(
    preset: Preset = None,
    until: Annotated[
        str | None, typer.Option(metavar="STAGE", help="Stop after this stage.")
    ] = None,
    cluster: Cluster = "local",
    workers: Workers = None,
    prefect_port: PrefectPort = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    summary_file: Annotated[
        Path | None,
        typer.Option("--summary", metavar="FILE", help="Also write the summary to FILE as JSON."),
    ] = None,
) -> int:
    """Run all stages that are not up to date, from the scans to the report.

    Stages: ingestion, registration, training, evaluation, export, report (the demo starts with
    cohort, which generates digital patients; pretraining and reconstruction run if the params have
    these sections). DVC decides which are out of date. Progress is shown on standard error; the
    score table and the path of the HTML report go to standard output. A run may be interrupted at
    any time: the same command resumes it.
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
    if dry_run:
        return print_plan(preset, until, workers, as_json=as_json)
    project = open_checkout(preset, printer(console)).until(until)
    refresh_dag(project, printer(console))
    built = run_project(project, RunOptions(cluster, workers, prefect_port), console)
    seconds = time.monotonic() - started
    if summary_file:
        write_whole(summary_file, canonical_json(summary.as_json(project, built, seconds)))
    if as_json:
        print_json(summary.as_json(project, built, seconds))
    else:
        if not built:
            typer.echo(f"{project.name}: everything is up to date")
        summary.show(Console(), project, built, seconds)
    return EXCLUSIONS if summary.exclusions(project) else CLEAN


def print_plan(
    preset: str | None,
    until: str | None,
    workers: int | None,
    *,
    file: Path | None = None,
    as_json: bool,
) -> int:
    """Print which stages a run would build, their time, memory and disk; write nothing."""
    from synthct.flows.run.planning import plan
    from synthct.flows.workspace.project import find_root

    found = plan(preset, until, file=file, workers=workers)
    if as_json:
        print_json(found.as_json())
        return CLEAN
    if not found.stages:
        typer.echo(f"{found.name}: everything is up to date")
    times = {each.stage: each for each in found.expected.stages} if found.expected else {}
    for name, summary in found.stages.items():
        typer.echo(f"{name:14}{_time(times.get(name))}  {summary}")
    for each in found.training:
        typer.echo(each.sentence())
    if found.missing:
        name = Path(found.missing).name
        note(f"there are no scans in {found.missing}: synthct ingest SRC... --dataset {name}")
    if found.expected:
        typer.echo("\n".join(found.expected.lines(find_root())))
    typer.echo("nothing was written: without --dry-run these stages run")
    return CLEAN


def _time(each: StageTime | None) -> str:
    from synthct.tasks.pipeline.progress import spelled_s

    if each is None or each.seconds is None:
        return f"{'unknown':14}{'':18}"
    return f"{spelled_s(each.seconds):14}{each.basis:18}"


@examples(
    "synthct forecast --preset sts51               how long training would take here",
    "synthct forecast --preset sts51 --workers 1   with one network at a time",
)
def forecast(
    preset: Preset = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Networks trained at a time (default: one per core)."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Measure some training steps on this machine, and say how long training would take.

    Nothing is written. The steps are real ones (network, losses, batch and patches of the params)
    on random numbers, measured while the machine is as busy as it is now. Steps of networks that
    are finished or half trained are counted too: the forecast is for a run from the start.
    Ingestion and registration depend on the scans; `synthct run` shows their time left as soon as
    the first case is done.
    """
    import os

    from rich.console import Console

    from synthct.flows.workspace.project import open_checkout
    from synthct.tasks.chain.params import load_params
    from synthct.tasks.training.probe import probe

    project = open_checkout(preset, printer(Console(stderr=True)))
    params = load_params(project.root / project.workspace / "params.yaml")
    forecasts = [
        probe(params.training, source, workers or os.cpu_count() or 1)
        for source in params.training.sources
    ]
    if as_json:
        print_json([each.as_json() for each in forecasts])
    else:
        for each in forecasts:
            typer.echo(each.sentence())
    return CLEAN


@examples(
    "synthct stage ingestion",
    "synthct stage registration --preset sts",
)
def stage(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the stage.")],
    preset: Preset = None,
) -> int:
    """Run one stage, whether or not it is up to date.

    For development; the same as `python -m synthct.tasks NAME`. DVC does not notice the new
    output: record it with `dvc commit` afterwards, and the later stages count as out of date.
    """
    from rich.console import Console

    from synthct.flows.run.stages import run_one_stage
    from synthct.flows.run.summary import exclusions
    from synthct.flows.workspace.project import open_checkout

    project = open_checkout(preset, printer(Console(stderr=True)))
    if code := run_one_stage(project, name):
        return code
    return EXCLUSIONS if any(row["stage"] == name for row in exclusions(project)) else CLEAN


@examples("synthct report", "synthct report --preset sts --out ~/sts-report")
def report(
    preset: Preset = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Copy the report to DIR.", file_okay=False),
    ] = None,
    as_json: Json = False,
) -> int:
    """Print the path of the HTML report, and rebuild or copy it if needed.

    The report is one self-contained file. It is rebuilt if it alone is out of date; earlier stages
    are never run by this command.
    """
    from rich.console import Console

    from synthct.flows.run.reporting import copy_page, fresh_page
    from synthct.flows.workspace.project import open_checkout, refresh_dag

    console = Console(stderr=True)
    project = open_checkout(preset, printer(console))
    refresh_dag(project, printer(console))
    page = fresh_page(project, console)
    shown = copy_page(page, out.expanduser()) if out else page.relative_to(project.root)
    if as_json:
        print_json({"workspace": project.name, "report": str(shown)})
    else:
        typer.echo(shown)
    return CLEAN
