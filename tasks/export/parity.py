"""Agreement of an exported network with the trained one, on windows of real cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import SynthctError
from synthct.tasks.export.params import ParityParams
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.sliding import Runner


@dataclass(frozen=True)
class Parity:
    """Largest difference between two forms of one network over the compared windows."""

    windows: int
    max_difference: float
    max_difference_hu: float

    @classmethod
    def worst(cls, parities: Sequence[Parity]) -> Parity:
        """The largest differences of several comparisons, all their windows counted."""
        return cls(
            sum(parity.windows for parity in parities),
            max(parity.max_difference for parity in parities),
            max(parity.max_difference_hu for parity in parities),
        )

    def as_json(self) -> dict[str, Any]:
        """For the card, with two digits, so that it does not depend on the last bit of a CPU."""
        return {
            "windows": self.windows,
            "max_difference": float(f"{self.max_difference:.1e}"),
            "max_difference_hu": float(f"{self.max_difference_hu:.1e}"),
        }


def compare(
    network: Runner, graph: Runner, inputs: NDArray[np.float32], model: ModelDescription
) -> Parity:
    """Compare both on the same windows: all at once, one alone, and one of another size."""
    wide = inputs.shape[-1] > model.divisor  # the deepest level has more than one voxel
    smaller = inputs[:1, ..., : model.divisor, :] if wide else inputs[:1]
    differences = [
        float(np.abs(network(given) - graph(given)).max())
        for given in (inputs, inputs[:1], np.ascontiguousarray(smaller))
    ]
    half = (model.target_scaling.high_hu - model.target_scaling.low_hu) / 2
    # Comparisons with NaN are false: it must not pass as "not larger".
    largest = float("inf") if np.isnan(differences).any() else max(differences)
    return Parity(len(inputs), largest, largest * half)


def check_parity(
    name: str, parities: Sequence[Parity], params: ParityParams
) -> SynthctError | None:
    """The error of the worst comparison, if it exceeds the limits, else None.

    Parameters
    ----------
    name
        Source and format, for the message.
    """
    worst = Parity.worst(parities)
    if (
        worst.max_difference <= params.max_difference
        and worst.max_difference_hu <= params.max_difference_hu
    ):
        return None
    return SynthctError(
        "the exported network differs from the trained one by "
        f"{worst.max_difference:.2g} (network units), {worst.max_difference_hu:.2g} HU",
        rule=f"at most {params.max_difference:g} and {params.max_difference_hu:g} HU are allowed",
        where=name,
        remedy="export with another opset, or report the operator that differs",
        code="parity",
    )
