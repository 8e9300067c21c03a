"""Voxels that are no image: wrong byte order, wrong row length, compressed bytes read as raw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.data.volume import Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS

SCRAMBLED = Code(
    "scrambled",
    Severity.REJECT,
    "neighbouring voxels have nothing to do with each other: byte order or row length is wrong",
    "export it again",
)


@GUARDS.register("scrambled")
@dataclass(frozen=True)
class Scrambled:
    r"""Neighbours in a slice are alike: :math:`\rho = 1 - \langle (v - v')^2\rangle / 2\sigma^2`.

    Parameters
    ----------
    least
        Smallest correlation of neighbours along rows and columns; a body has 0.8 and more.
    """

    least: float = 0.3
    needs_mask: bool = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Correlate neighbours along both in-plane axes."""
        values = scan.array.astype(np.float64)
        variance = float(values.var())
        if not np.isfinite(variance) or variance == 0 or min(values.shape) < 2:
            return scan, []
        alike = [
            1 - float((np.diff(values, axis=axis) ** 2).mean()) / (2 * variance) for axis in (1, 2)
        ]
        if min(alike) >= self.least:
            return scan, []
        return scan, [SCRAMBLED.found(f"neighbouring voxels correlate by {min(alike):.2f} only")]
