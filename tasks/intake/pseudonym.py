"""Pseudonyms and UIDs by keyed hash: the same patient gets the same name, irreversibly.

HMAC-SHA-256 (RFC 2104) with a key that stays outside the repository. Without the key nobody can
try all possible patient IDs.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from synthct.data.environment import PSEUDONYM_KEY
from synthct.data.errors import UsageError
from synthct.data.files import create_private
from synthct.tasks.intake.words import readable

MIN_KEY_CHARACTERS = 16
_DIGITS = 8
MAX_DAYS = 3650
"""Dates are shifted by up to ten years."""


@dataclass(frozen=True)
class Pseudonyms:
    """Names derived from one secret key."""

    key: bytes

    def __repr__(self) -> str:
        return "Pseudonyms(key=hidden)"

    def hashed(self, kind: str, text: str) -> str:
        """Keyed hash of a text, in hexadecimal; ``kind`` separates the uses."""
        said = f"{kind}\0{text}".encode(errors="surrogateescape")  # names that are not UTF-8
        return hmac.new(self.key, said, hashlib.sha256).hexdigest()

    def patient(self, identity: str) -> str:
        """The patient's name in the data set, e.g. ``P-3fa9c1d2``."""
        return f"P-{self.hashed('patient', readable(identity.strip()))[:_DIGITS]}"

    def uid(self, original: str) -> str:
        """A UID under the ``2.25`` root; equal originals give equal UIDs: references are kept."""
        return f"2.25.{int(self.hashed('uid', original)[:32], 16)}"

    @property
    def check(self) -> str:
        """Check value of the key, from which the key cannot be derived; stored in data sets."""
        return self.hashed("check", "synthct pseudonym key")[:16]

    def days(self, patient: str) -> int:
        """Number of days by which all dates of the patient are shifted back."""
        return 1 + int(self.hashed("days", patient)[:8], 16) % MAX_DAYS


def load_pseudonyms() -> Pseudonyms:
    """The key from ``$SYNTHCT_PSEUDONYM_KEY``, else from the key file.

    No key is created here: with a new key all patients of a data set would be ingested again under
    other names, and a container that lost its key would create one at each start.

    Raises
    ------
    UsageError
        ``no-pseudonym-key``, ``key-too-short`` or ``key-not-text``.
    """
    text = os.environ.get(PSEUDONYM_KEY)
    if text is None:
        text = _key_from_file(key_file())
    if len(text.strip()) < MIN_KEY_CHARACTERS:
        raise UsageError(
            f"the key has only {len(text.strip())} characters",
            where=PSEUDONYM_KEY if PSEUDONYM_KEY in os.environ else str(key_file()),
            rule=f"a pseudonym key has at least {MIN_KEY_CHARACTERS} characters",
            remedy="set a long random key and keep it safe",
            code="key-too-short",
        )
    try:
        return Pseudonyms(text.strip().encode())
    except UnicodeEncodeError as error:
        raise _not_text(f"${PSEUDONYM_KEY}") from error


def key_file() -> Path:
    """``synthct/pseudonym.key`` in the user's configuration folder, never in the repository."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "synthct" / "pseudonym.key"


def _key_from_file(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError as error:
        raise _not_text(str(path)) from error
    except (FileNotFoundError, IsADirectoryError) as error:  # containers mount a folder for nothing
        raise UsageError(
            "there is no pseudonym key",
            rule="pseudonyms are derived from a key of your own, which is created once and kept",
            where=str(path),
            remedy="create one with `synthct key --new`; in a container mount it, or set "
            f"${PSEUDONYM_KEY}",
            code="no-pseudonym-key",
        ) from error


def _not_text(where: str) -> UsageError:
    return UsageError(
        "the key is not text",
        rule="a pseudonym key is text in UTF-8",
        where=where,
        remedy="create one with `synthct key --new`, or write yours in hexadecimal",
        code="key-not-text",
    )


def new_key() -> Path:
    """Create the key file, readable by its owner only; an existing key is never replaced.

    Raises
    ------
    UsageError
        ``key-there``.
    """
    path = key_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        create_private(path, secrets.token_hex(32) + "\n")
    except FileExistsError as error:
        raise UsageError(
            "there is a key already",
            rule="a pseudonym key is created once",
            where=str(path),
            remedy="keep it: with another key every patient would get a second name",
            code="key-there",
        ) from error
    return path


def require_key(names: Pseudonyms, check: str, where: str) -> None:
    """Require the key with which a data set's patients were named; ``check`` may be empty.

    Raises
    ------
    UsageError
        ``another-key``.
    """
    if check in ("", names.check):
        return
    raise UsageError(
        "the patients of the data set were named with another key; with this one each of them "
        "would be ingested twice",
        rule="one data set has one pseudonym key",
        where=where,
        remedy=f"use that key (${PSEUDONYM_KEY} or {key_file()}), or name another --dataset",
        code="another-key",
    )
