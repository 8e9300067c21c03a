"""The command line ``synthct``. Heavy packages are imported by the command that needs them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
import typer.core

from synthct.data.temporary import sweep
from synthct.flows.cli import (
    about,
    chain,
    compare,
    explanation,
    inbox,
    init,
    key,
    machine,
    params,
    prediction,
    reconstruction,
    scans,
    science,
    scores,
    serve,
    study,
    view,
)
from synthct.flows.exits import USAGE, guarded
from synthct.tasks.pipeline.ending import graceful_termination

HELP = """Synthetic CT from MRI and cone-beam CT (CBCT) for radiotherapy.

`run` trains models: it takes a data set through ingestion, registration, training, evaluation and
export, and writes a release folder for each source (MR, CBCT). `predict` applies a release to a
scan. `register` and `evaluate` work on single scans without a data set.

Lengths are in mm, CT values in HU and times in s unless an option states another unit.
SCAN is a DICOM folder or zip, NIfTI, MHA, NRRD or OME-Zarr.

Exit codes: 0 done · 1 failed, or stopped by Ctrl-C (the same command resumes) · 2 wrong usage, or a
scan that cannot be used · 3 done, but cases were excluded (they are listed). `synthct help` lists
topics that are explained at length.
"""

EXAMPLES = "\n".join(
    (
        "First steps:",
        "  synthct doctor                         check this machine",
        "  synthct run                            run the demo: ten minutes on two cores",
        "  synthct init mine --from FOLDER        set up a study of your own scans,",
        "  synthct run --preset mine              then train and evaluate on them",
    )
)


_INTERRUPTED = 130
"""What typer returns after Ctrl-C; no command returns it otherwise."""


AS_TYPED = "\b\n"
"""Before a paragraph of a help text: its lines are not wrapped."""


def paragraphs(text: str) -> str:
    """Join the lines of each paragraph, so that the text wraps at any terminal's width."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


class _Commands(typer.core.TyperGroup):
    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands, each with its whole first sentence: typer would cut it."""
        rows = [
            (name, command.get_short_help_str(limit=200)) for name, command in self.commands.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


commands = typer.Typer(
    name="synthct",
    cls=_Commands,
    help=paragraphs(HELP),
    epilog=AS_TYPED + EXAMPLES,
    add_completion=False,
    rich_markup_mode=None,  # rich takes longer to import than all that a help text needs
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

for function in (
    chain.run,
    chain.forecast,
    chain.stage,
    key.key,
    init.init,
    scans.ingest,
    reconstruction.reconstruct,
    science.register,
    prediction.predict,
    key.sign,
    key.verify,
    inbox.watch,
    scores.evaluate,
    science.regularizers,
    study.study,
    chain.report,
    compare.compare,
    view.view,
    explanation.explain,
    params.params,
    serve.serve,
    machine.doctor,
    about.help,
    about.completion,
):
    commands.command(
        help=paragraphs(function.__doc__ or ""),
        epilog=AS_TYPED + getattr(function, "examples", ""),
    )(function)


@commands.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version, and those of all packages that compute."
        ),
    ] = False,
) -> int | None:
    if version:
        for name, number in about.versions().items():
            typer.echo(f"{name} {number}")
        raise typer.Exit(0)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(USAGE)
    return None


def command_line(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code.

    Temporary files that an earlier, killed command left behind are removed first.
    """
    # Printing a file name that is not UTF-8 must not raise: the result is already written.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with graceful_termination():
        sweep()
        return guarded(lambda: _parsed(arguments))


def _parsed(arguments: Sequence[str]) -> int:
    if about.COMPLETE_VARIABLE in os.environ:
        from typer.completion import get_completion_inspect_parameters

        get_completion_inspect_parameters()  # makes the shells known
    try:
        code = commands(list(arguments), prog_name="synthct", standalone_mode=False)
    except typer.TyperException as error:
        message = " ".join(error.format_message().split()).replace(": Value error, ", ": ")
        if "is not readable" in message or "is not writable" in message:
            message = (
                message.removesuffix(".")
                + "; permission denied: ask its owner, or change its permissions with chmod"
            )
        sys.stderr.write(f"synthct: {message.removesuffix('.')}; see `{_help_for(arguments)}`\n")
        return error.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    if code == _INTERRUPTED:
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def _help_for(arguments: Sequence[str]) -> str:
    known = {
        command.callback.__name__ for command in commands.registered_commands if command.callback
    }
    named = [argument for argument in arguments[:1] if argument in known]
    return " ".join(["synthct", *named, "--help"])


def app() -> NoReturn:
    """Entry point of the installed command."""
    code = command_line(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: at interpreter exit Prefect's threads wait minutes for a server that is gone.
    os._exit(code)
