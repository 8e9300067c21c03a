"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

Command = TypeVar("Command", bound=Callable[..., int])

Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Run in workspaces/NAME, made from presets/NAME.yaml at its first use. "
        "Without it: the demo in the root.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Scan = Annotated[Path, typer.Option(metavar="SCAN", exists=True)]


def printer(console: Console) -> Callable[[str], None]:
    """A function that prints a sentence there as it is."""
    return lambda line: console.print(line, highlight=False, soft_wrap=True, markup=False)


def examples(*lines: str) -> Callable[[Command], Command]:
    """Show example calls below a command's help."""

    def attach(command: Command) -> Command:
        command.examples = "\n".join(["Examples:", *(f"  {line}" for line in lines)])  # type: ignore[attr-defined]
        return command

    return attach
