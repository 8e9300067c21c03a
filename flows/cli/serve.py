"""``serve``: scheduled runs and their pages on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from synthct.data.environment import WEBHOOK_FILE
from synthct.flows.cli.options import examples, printer
from synthct.flows.exits import CLEAN


@examples(
    "synthct serve                         until Ctrl-C",
    "synthct serve --port 8080             the status page on another port",
    f"{WEBHOOK_FILE}=~/hook synthct serve      tell a chat how runs ended",
)
def serve(
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the status page on loopback.")
    ] = 4280,
    prefect_port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Port of the Prefect server on loopback (default: a free one)."
        ),
    ] = None,
    stop_after: Annotated[
        float | None,
        typer.Option(metavar="HOURS", min=0.0, help="End by itself after so long."),
    ] = None,
) -> int:
    """Run the schedules of prefect.yaml and show what happens.

    One command starts a Prefect server, what runs the schedules, an exporter, a
    status page, and Prometheus where it is installed; all of it listens on
    loopback and ends with this command. Each scheduled run has a git worktree of
    its own and shares the DVC cache and the finished units.

    `synthct run` in the same checkout shows up on the same pages.
    """
    from rich.console import Console

    from synthct.flows.serve.serving import Ports, serve
    from synthct.flows.workspace.project import find_root

    stop_after_s = None if stop_after is None else stop_after * 3600.0
    serve(
        find_root(),
        Ports(port, prefect_port),
        printer(Console(stderr=True)),
        stop_after_s=stop_after_s,
    )
    return CLEAN
