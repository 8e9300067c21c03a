"""``key``: the secret that patients' names are made with."""

from __future__ import annotations

from typing import Annotated

import typer

from synthct.flows.cli.options import examples
from synthct.flows.exits import CLEAN


@examples(
    "synthct key --new    once on a machine, before the first ingest",
    "synthct key          where it lies, and the check value that data sets carry",
)
def key(
    new: Annotated[
        bool, typer.Option("--new", help="Make one; never replaces one that is there.")
    ] = False,
) -> int:
    """Make, or find, the key that patients are named with.

    The same key gives the same patient the same name; nobody can go back without it. Keep a copy
    where patients' data may lie: whoever loses it cannot add to the data sets that it named.
    $SYNTHCT_PSEUDONYM_KEY goes before the file.
    """
    import os

    from synthct.data.environment import PSEUDONYM_KEY
    from synthct.tasks.intake.pseudonym import key_file, load_pseudonyms, new_key

    if new:
        typer.echo(f"{new_key()}: made; keep a copy in a safe place")
    where = f"${PSEUDONYM_KEY}" if PSEUDONYM_KEY in os.environ else str(key_file())
    typer.echo(f"{where}: check value {load_pseudonyms().check}")
    return CLEAN
