"""Voxels that contradict the modality the scan was given as."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS

WRONG = Code(
    "wrong-modality",
    Severity.QUARANTINE,
    "the voxels contradict the modality: CT has air at -1000, MR has no negative air",
    "check which scan is which",
)


@GUARDS.register("modality")
@dataclass(frozen=True)
class WrongModality:
    """MR has no air at -1000, and CT has."""

    needs_mask: bool = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Look at the dark end of the histogram."""
        dark, low = (float(v) for v in np.percentile(scan.array[::2, ::2, ::2], (1, 5)))
        if scan.modality is Modality.MR and -1100 < dark < -900:
            sentence = f"an MR whose darkest voxels are {dark:.0f}, like air in CT"
            return scan, [WRONG.found(sentence)]
        if scan.modality is not Modality.MR and dark >= 0 and low < 20:
            sentence = f"a {scan.modality} without negative values, like an MR"
            return scan, [WRONG.found(sentence)]
        return scan, []
