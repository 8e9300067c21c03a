"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from synthct.data.errors import UsageError

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


def printer(console: Console) -> Callable[[str], None]:
    """A function that prints a line on the console without wrapping or markup."""
    return lambda line: console.print(line, highlight=False, soft_wrap=True, markup=False)


def examples(*lines: str) -> Callable[[Command], Command]:
    """Show example calls below a command's help."""

    def attach(command: Command) -> Command:
        command.examples = "\n".join(["Examples:", *(f"  {line}" for line in lines)])  # type: ignore[attr-defined]
        return command

    return attach
