"""A private certificate authority for ``tls://`` schedulers.

    python -m synthct.flows.clusters.authority DIR

writes ``ca.pem``, ``ca.key`` and one certificate for scheduler, workers and clients alike,
``node.pem`` with ``node.key``. Copy ``ca.pem``, ``node.pem`` and ``node.key`` to every machine and
set ``SYNTHCT_TLS=DIR`` there; keep ``ca.key`` off the nodes. ``node.key`` is the credential of the
cluster: its holder may run code on the workers.
"""

from __future__ import annotations

import contextlib
import datetime
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from synthct.data.errors import UsageError
from synthct.data.files import create_private, write_whole
from synthct.data.temporary import temporary_folder

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, Name

VALID_DAYS = 365
"""Validity of the nodes' certificate; the authority's own is ten times as long."""


def make_authority(folder: Path) -> None:
    """Write the four files; an existing authority is never replaced.

    Raises
    ------
    UsageError
        ``authority-exists``.
    """
    if (folder / "ca.key").exists():
        raise UsageError(
            "the folder already holds a ca.key",
            rule="an authority is never replaced",
            where=str(folder),
            remedy="choose another folder, then copy the new files to all machines",
            code="authority-exists",
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    create_private(folder / "ca.key", _key_pem(_issue(folder)))


@contextlib.contextmanager
def certificates_of_a_run() -> Iterator[Path]:
    """A private folder with certificates for one cluster on this machine, for the block.

    The authority's key is never written, so no further certificate can be made; the folder is
    readable by this user only.
    """
    with temporary_folder("tls") as folder:
        _issue(folder)
        yield folder


def _issue(folder: Path) -> EllipticCurvePrivateKey:
    """Write a new authority's ``ca.pem``, ``node.pem`` and ``node.key``; returns its own key."""
    from cryptography.hazmat.primitives.asymmetric import ec

    authority, node = (
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP384R1()),
    )
    root = _certificate(authority, authority, "synthct authority", None, 10 * VALID_DAYS)
    leaf = _certificate(node, authority, "synthct node", root.subject, VALID_DAYS)
    create_private(folder / "node.key", _key_pem(node))
    for name, certificate in (("ca.pem", root), ("node.pem", leaf)):
        write_whole(folder / name, _pem(certificate))
    return authority


def _certificate(
    key: EllipticCurvePrivateKey,
    signer: EllipticCurvePrivateKey,
    name: str,
    issuer: Name | None,
    days: int,
) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))  # clocks of nodes differ a little
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(signer, hashes.SHA384())
    )


def _pem(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


if __name__ == "__main__":
    from synthct.flows.exits import guarded

    def _main() -> int:
        make_authority(Path(sys.argv[1] if len(sys.argv) > 1 else ".synthct/tls"))
        return 0

    sys.exit(guarded(_main))
