"""An Ed25519 signature of ``checksums.json``, which detects forgery as checksums cannot."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthct.data.errors import MachineError, UsageError
from synthct.data.files import canonical_json, create_private, whole_folder, write_whole
from synthct.tasks.pipeline.artefacts import CHECKSUMS
from synthct.tasks.prediction.checksums import SIGNATURE
from synthct.tasks.prediction.release import open_release

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )


def new_key(private: Path) -> Path:
    """Create a key pair: ``private`` (PEM, readable by its owner only) and ``private`` + ``.pub``.

    Raises
    ------
    UsageError
        If one of the files exists: an overwritten key would be lost.
    """
    crypto = _crypto()
    public = private.with_name(private.name + ".pub")
    for path in (private, public):
        if path.exists():
            raise UsageError(
                "a file of that name exists already",
                rule="a new key has a new name",
                where=str(path),
                remedy="name another file",
                code="key-exists",
            )
    key = crypto["ed25519"].Ed25519PrivateKey.generate()
    form = crypto["serialization"]
    secret = key.private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
    )  # fmt: skip
    private.parent.mkdir(parents=True, exist_ok=True)
    create_private(private, secret)
    spelled = key.public_key().public_bytes(
        form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
    )
    write_whole(public, spelled)
    return public


def sign_release(folder: Path, private: Path, out: Path) -> None:
    """Write a signed copy of a release to ``out``; the pipeline's output is never changed."""
    open_release(folder)
    key = _private(private)
    listing = (folder / CHECKSUMS).read_bytes()
    form = _crypto()["serialization"]
    public = key.public_key().public_bytes(form.Encoding.Raw, form.PublicFormat.Raw)
    document = {
        "format": 1,
        "algorithm": "ed25519",
        "signed": CHECKSUMS,
        "public_key": base64.b64encode(public).decode(),
        "signature": base64.b64encode(key.sign(listing)).decode(),
    }
    if out.exists():
        raise UsageError(
            "there is a file or folder of that name",
            rule="a signed release is a new folder",
            where=str(out),
            remedy="name another folder",
            code="out-not-empty",
        )
    with whole_folder(out) as building:
        shutil.copytree(folder, building, dirs_exist_ok=True)
        write_whole(building / SIGNATURE, canonical_json(document))


def verify_release(folder: Path, public_key: Path | None = None) -> dict[str, Any]:
    """Verify every file of a release and, with a key, its signature.

    Returns
    -------
    dict
        ``model source networks files signed``.
    """
    if public_key is not None:
        check_signature(folder, public_key)
    release = open_release(folder)
    return {
        "model": str(folder),
        "source": release.description.source,
        "networks": len(release.description.members),
        "files": len(release.listed),
        "signed": public_key is not None,
    }


def check_signature(folder: Path, public: Path) -> None:
    """Raise unless the signature of ``checksums.json`` matches the public key.

    The key is read from ``public``, never from the folder, where a forger would place another one.
    """
    crypto = _crypto()
    key = _public(public)
    try:
        document: dict[str, Any] = json.loads((folder / SIGNATURE).read_text())
        signature = base64.b64decode(document["signature"], validate=True)
        key.verify(signature, (folder / CHECKSUMS).read_bytes())
    except FileNotFoundError as error:
        raise _refused(folder, "no signature") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _refused(folder, f"an unreadable signature ({type(error).__name__})") from error
    except crypto["exceptions"].InvalidSignature as error:
        raise _refused(folder, "a signature by another key or of other contents") from error


def _refused(folder: Path, got: str) -> UsageError:
    return UsageError(
        f"the signature is not valid: {got}",
        where=str(folder / SIGNATURE),
        remedy="get the release, or the right public key, from whoever made it",
        code="signature-invalid",
    )


def _private(path: Path) -> Ed25519PrivateKey:
    return _key(path, "load_pem_private_key", "Ed25519PrivateKey", password=None)  # type: ignore[no-any-return]


def _public(path: Path) -> Ed25519PublicKey:
    return _key(path, "load_pem_public_key", "Ed25519PublicKey")  # type: ignore[no-any-return]


def _key(path: Path, loader: str, kind: str, **options: Any) -> Any:
    crypto = _crypto()
    try:
        key = getattr(crypto["serialization"], loader)(path.read_bytes(), **options)
    except (ValueError, TypeError, crypto["exceptions"].UnsupportedAlgorithm) as error:
        raise _wrong_key(path, "no PEM key of that kind") from error
    except FileNotFoundError as error:
        raise _wrong_key(path, "no file") from error
    if not isinstance(key, getattr(crypto["ed25519"], kind)):
        raise _wrong_key(path, type(key).__name__)
    return key


def _wrong_key(path: Path, got: str) -> UsageError:
    return UsageError(
        f"the key cannot be used: {got}",
        rule="a key is an unencrypted ed25519 key in PEM: private to sign, public (.pub) to verify",
        where=str(path),
        remedy="`synthct sign --new-key FILE` makes a pair",
        code="wrong-key",
    )


def _crypto() -> dict[str, Any]:
    """Import cryptography, which only signing and verification need."""
    try:
        from cryptography import exceptions
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ModuleNotFoundError as error:
        raise MachineError(
            "the package cryptography is not installed",
            rule="signatures need it",
            remedy="pip install '.[sign]'",
            code="package-missing",
        ) from error
    return {"exceptions": exceptions, "serialization": serialization, "ed25519": ed25519}
