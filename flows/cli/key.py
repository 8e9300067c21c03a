"""``key``, ``sign``, ``verify``: the keys of pseudonyms and of releases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synthct.flows.cli.options import Json, Model, PublicKey, examples, print_json
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


@examples(
    "synthct sign --new-key release-key",
    "synthct sign --model data/artefacts/export/mr --key release-key --out signed/mr",
)
def sign(
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Release folder to sign.")
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="Private key (PEM).")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="New folder for the signed copy.")
    ] = None,
    new_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Only create a key pair: FILE (private) and FILE.pub (public)."
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Sign a release with an Ed25519 key.

    The checksums in a release detect accidental changes; a deliberate change can update them. A
    signature detects both, provided that users get the public key from a trusted channel and not
    from the release folder.
    """
    from synthct.data.errors import UsageError
    from synthct.tasks.prediction.signing import new_key as make_key
    from synthct.tasks.prediction.signing import sign_release

    if new_key is not None:
        public = make_key(new_key)
        if as_json:
            print_json({"private_key": str(new_key), "public_key": str(public)})
        else:
            typer.echo(f"created {new_key} (keep it secret) and {public} (distribute it)")
        return CLEAN
    if model is None or key is None or out is None:
        raise UsageError(
            "an option is missing",
            rule="`sign` takes --model, --key and --out, or --new-key alone",
            remedy="see `synthct sign --help`",
            code="sign-options",
        )
    sign_release(model, key, out)
    if as_json:
        print_json({"out": str(out), "model": str(model)})
    else:
        typer.echo(f"{out}: signed copy of {model}")
    return CLEAN


@examples(
    "synthct verify --model RELEASE",
    "synthct verify --model RELEASE --public-key release-key.pub",
)
def verify(model: Model, public_key: PublicKey = None, as_json: Json = False) -> int:
    """Verify the files of a release.

    Without --public-key only the checksums are verified, which detects accidental changes; with it
    also the signature, which proves who made the release.
    """
    from synthct.tasks.prediction.signing import verify_release

    document = verify_release(model, public_key)
    if as_json:
        print_json(document)
    else:
        verdict = "signature valid" if public_key else "checksums match (signature not verified)"
        typer.echo(f"{model}: {document['files']} files, {verdict}")
    return CLEAN
