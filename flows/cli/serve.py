"""``serve``: scheduled runs and their status page on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from synthct.data.environment import WEBHOOK_FILE
from synthct.flows.cli.options import PrefectPort, examples, printer
from synthct.flows.exits import CLEAN


@examples(
    "synthct serve                         until Ctrl-C",
    "synthct serve --port 8080             status page on another port",
    f"{WEBHOOK_FILE}=~/hook synthct serve      post finished runs to a chat webhook",
)
def serve(
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the status page on localhost.")
    ] = 4280,
    prefect_port: PrefectPort = None,
    stop_after: Annotated[
        float | None,
        typer.Option(metavar="HOURS", min=0.0, help="Stop after this time (default: never)."),
    ] = None,
) -> int:
    """Run the schedules of prefect.yaml and show a status page.

    Starts a Prefect server, a runner for scheduled runs, a status page with a Prometheus exporter,
    and Prometheus if it is installed. All of them listen on localhost only and end with this
    command. Each scheduled run works in a git worktree of its own and shares the DVC cache and the
    result cache with the checkout. A `synthct run` in the same checkout appears on the same page.
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
