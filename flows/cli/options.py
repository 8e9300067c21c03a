"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from synthct.data.environment import CLUSTER
from synthct.data.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from synthct.flows.run.single import Single

Command = TypeVar("Command", bound=Callable[..., int])

Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Work in workspaces/NAME, which is created from presets/NAME.yaml on first use. "
        "Default: the demo in the root of the checkout.",
    ),
]
Model = Annotated[
    Path, typer.Option(metavar="DIR", help="Release folder, as written by the export stage.")
]
PublicKey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Require that the release is signed with this key."),
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
        "tcp://HOST:PORT or tls://HOST:PORT of a Dask scheduler. Results are the same on machines "
        "of one kind.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Workers of `local` and `gpu` clusters (default: one per core)."),
]
PrefectPort = Annotated[
    int | None,
    typer.Option(
        min=1, max=65535, help="Port of the Prefect server on localhost (default: a free one)."
    ),
]
PatientFrom = Annotated[
    int | None,
    typer.Option(
        metavar="LEVEL",
        min=1,
        help="The folder of this level names the patient: 1 for SRC/PATIENT/... (default: headers "
        "and names decide).",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")]
Scan = Annotated[Path, typer.Option(metavar="SCAN", exists=True)]

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the results of an earlier call.")
]


def refuse_existing(*outputs: Path | None, overwrite: bool) -> None:
    """Refuse an output that exists, unless the user allows to replace it.

    Raises
    ------
    UsageError
        ``output-exists``.
    """
    for path in outputs:
        if path is None or overwrite or not path.exists():
            continue
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise UsageError(
                "the output exists already",
                rule="results are not replaced by accident",
                where=str(path),
                remedy="name another output, or add --overwrite",
                code="output-exists",
            )


class Device(StrEnum):
    """Processor that networks and metrics run on."""

    CPU = "cpu"
    CUDA = "cuda"


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


def print_forecast(told: Single, *, as_json: bool) -> int:
    """Print the forecast of a command on one scan or pair; returns the exit code."""
    if as_json:
        print_json(told.as_json())
    else:
        typer.echo("\n".join(told.lines(Path.cwd())))
    return 0


def printer(console: Console) -> Callable[[str], None]:
    """A function that prints a line on the console without wrapping or markup."""
    return lambda line: console.print(line, highlight=False, soft_wrap=True, markup=False)


def examples(*lines: str) -> Callable[[Command], Command]:
    """Show example calls below a command's help."""

    def attach(command: Command) -> Command:
        command.examples = "\n".join(["Examples:", *(f"  {line}" for line in lines)])  # type: ignore[attr-defined]
        return command

    return attach
