"""``key``: the secret key from which patients' pseudonyms are derived."""

from __future__ import annotations

from typing import Annotated

import typer

from synthct.flows.cli.options import Json, examples, print_json
from synthct.flows.exits import CLEAN


@examples(
    "synthct key --new    create the key, once per machine, before the first ingest",
    "synthct key          show the key's path, and the check value stored in data sets",
)
def key(
    new: Annotated[
        bool, typer.Option("--new", help="Create a key; an existing key is never replaced.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Create or locate the secret key of the patients' pseudonyms.

    Pseudonyms are keyed hashes: with one key a patient always gets the same pseudonym, and without
    the key nobody can link a pseudonym to a patient. Back the key up where patient data may be
    stored: without it, scans cannot be added to existing data sets. $SYNTHCT_PSEUDONYM_KEY takes
    precedence over the file.
    """
    import os

    from synthct.data.environment import PSEUDONYM_KEY
    from synthct.tasks.intake.pseudonym import key_file, load_pseudonyms, new_key

    made = new_key() if new else None
    where = f"${PSEUDONYM_KEY}" if PSEUDONYM_KEY in os.environ else str(key_file())
    check = load_pseudonyms().check
    if as_json:
        print_json({"created": new, "key": where, "check": check})
        return CLEAN
    if made is not None:
        typer.echo(f"{made}: created; keep a backup in a safe place")
    typer.echo(f"{where}: check value {check}")
    return CLEAN
