"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from synthct.data.environment import CLUSTER

if TYPE_CHECKING:
    from rich.console import Console

Command = TypeVar("Command", bound=Callable[..., int])

Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Work in workspaces/NAME, which is created from presets/NAME.yaml on first use. "
        "Default: the demo in the root of the checkout.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Cluster = Annotated[
    str,
    typer.Option(
        metavar="KIND",
        envvar=str(CLUSTER),
        help="Where the work is done: `here` (in the stage's process), `local` (worker "
        "processes on this machine), `gpu` (one worker per GPU, others on the remaining "
        "cores), `slurm` or `kubernetes` (configured in infra/KIND/cluster.yaml), or the "
        "tcp://HOST:PORT or tls://HOST:PORT of a Dask scheduler. Does not affect results.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Workers of `local` and `gpu` clusters (default: one per core)."),
]
Scan = Annotated[Path, typer.Option(metavar="SCAN", exists=True)]


class Source(StrEnum):
    """Modality of a source scan."""

    MR = "mr"
    CBCT = "cbct"


Series = Annotated[
    str,
    typer.Option(
        metavar="ID",
        help="Number, description or UID of the series, if a DICOM folder holds several.",
    ),
]


def print_json(document: Any) -> None:
    """Print a JSON document on standard output."""
    typer.echo(json.dumps(document, indent=2))


def printer(console: Console) -> Callable[[str], None]:
    """A function that prints a line on the console without wrapping or markup."""
    return lambda line: console.print(line, highlight=False, soft_wrap=True, markup=False)


def examples(*lines: str) -> Callable[[Command], Command]:
    """Show example calls below a command's help."""

    def attach(command: Command) -> Command:
        command.examples = "\n".join(["Examples:", *(f"  {line}" for line in lines)])  # type: ignore[attr-defined]
        return command

    return attach
