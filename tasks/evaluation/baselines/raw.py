"""The CBCT taken at its word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from synthct.tasks.evaluation.baselines import BASELINES
from synthct.tasks.evaluation.naive import Fitted, Unfitted, UnseenImages


@BASELINES.register("raw")
@dataclass(frozen=True)
class Raw(Unfitted):
    """The CBCT's own numbers read as HU: what there is without any correction."""

    tasks: ClassVar[frozenset[str]] = frozenset({"cbct"})

    def predict(self, images: UnseenImages, fitted: Fitted) -> NDArray[Any]:
        """The CBCT inside the mask."""
        return images.filled(images.source[images.mask])
