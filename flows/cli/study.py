"""``study``: compare regularizers under equal conditions, in a workspace of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthct.flows.cli.chain import print_plan
from synthct.flows.cli.options import (
    Cluster,
    DryRun,
    Json,
    Workers,
    examples,
    print_json,
    printer,
)
from synthct.flows.exits import CLEAN, EXCLUSIONS
from synthct.tasks.pipeline.artefacts import PAGE

if TYPE_CHECKING:
    from rich.table import Table

PRESET = "study"
"""Default study: ``presets/study.yaml``."""


@examples(
    "synthct study                             the demo study: hours on two cores",
    "synthct study --grid presets/bias.yaml    effect of the registration on training and scores",
    "synthct study --grid my_study.yaml        your own: params with a `study:` section",
)
def study(
    grid: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Params with a `study:` section, which lists the arms (regularizers, losses, "
            "networks), the training pairs (registration, simulated misregistration), the "
            "references and the seeds. Default: presets/study.yaml.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    cluster: Cluster = "local",
    workers: Workers = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> int:
    """Compare regularizers with the same pairs, folds, seeds and training steps.

    Trains every arm of the study and reports each arm's difference to training without
    regularizer on unseen patients, with a confidence interval and a p value. Works in a workspace
    named after the file of --grid. Finished trials are kept: a study may be interrupted and
    resumed, and if arms are added to workspaces/NAME/params.yaml, only those are trained.
    """
    from rich.console import Console

    from synthct.flows.clusters.opening import check_kind
    from synthct.flows.run.running import RunOptions, run_project
    from synthct.flows.run.summary import exclusions, study_as_json, study_effects
    from synthct.flows.workspace.project import (
        open_checkout,
        refresh_dag,
        require_study,
        require_study_in,
    )

    started, console = time.monotonic(), Console(stderr=True)
    check_kind(cluster)
    if grid is not None:
        require_study_in(grid)  # before a workspace is made for it
    if dry_run:
        name = grid.stem if grid else PRESET
        return print_plan(name, None, workers, file=grid, as_json=as_json)
    project = open_checkout(grid.stem if grid else PRESET, printer(console), file=grid)
    require_study(project)
    refresh_dag(project, printer(console))
    built = run_project(project, RunOptions(cluster, workers, None), console)
    if as_json:
        print_json(study_as_json(project, time.monotonic() - started))
    else:
        if not built:
            typer.echo(f"{project.name}: everything is up to date")
        Console().print(_table(study_effects(project)))
        typer.echo(f"study: {project.stages[-1].out / PAGE}")
    return EXCLUSIONS if exclusions(project) else CLEAN


def _table(rows: list[dict[str, str]]) -> Table:
    from rich.table import Table

    table = Table(title="difference to none on unseen patients", title_justify="left", box=None)
    for heading in ("pairs", "arm"):
        table.add_column(heading)
    for heading in ("none", "arm's", "difference", "95 % interval", "p (Holm)", "arithmetic"):
        table.add_column(heading, justify="right")
    for row in sorted(rows, key=lambda row: (row["pairs"], float(row["difference"]))):
        interval = f"{row['low']} to {row['high']}" if row["low"] else "too few"
        table.add_row(
            row["pairs"], row["arm"], row["control"], row["mean"], row["difference"], interval,
            row["adjusted_p"] or "-", row["flops_ratio"] or "-",
        )  # fmt: skip
    return table
