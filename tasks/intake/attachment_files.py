"""What lies beside scans: structure sets, doses, body masks that came with a case."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from synthct.data.readers import Found
from synthct.data.volume import Modality
from synthct.tasks.intake.scrub import secrets_of

STRUCTURES, DOSE, MASK = "structures", "dose", "mask"


@dataclass(frozen=True, eq=False)
class Extra:
    """One of them, not yet given to a patient's scan.

    Parameters
    ----------
    kind
        ``structures``, ``dose`` or ``mask``.
    identity
        Whose it is, as the source (or the manifest) says it.
    listed
        Named by the manifest: chosen before others.
    drawn_on
        The scan that the manifest says it belongs to, where it says one.
    """

    found: Found
    label: str
    kind: str
    identity: str
    listed: bool = False
    drawn_on: Modality | None = None

    @property
    def place(self) -> str:
        """Where it is, for the person at the terminal; never stored."""
        return f"{self.found.path.name}: {self.found.place}"

    @property
    def secrets(self) -> frozenset[str]:
        """Texts that no message may repeat."""
        return secrets_of(self.found)

    @property
    def file(self) -> Path:
        """The file itself; the zip where it lies in one."""
        found = self.found
        return found.path / found.files[0] if found.path.is_dir() else found.path

    @property
    def series(self) -> str:
        """SeriesInstanceUID, which finds it inside a zip."""
        return self.found.series
