"""The patient's own CT, left where it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from synthct.tasks.evaluation.baselines import BASELINES
from synthct.tasks.evaluation.naive import Fitted, Unfitted, UnseenImages


@BASELINES.register("unregistered")
@dataclass(frozen=True)
class Unregistered(Unfitted):
    """The planning CT resampled without any registration, taken as if it were the synthetic CT."""

    tasks: ClassVar[frozenset[str]] = frozenset({"mr", "cbct"})

    def predict(self, images: UnseenImages, fitted: Fitted) -> NDArray[Any]:
        """The CT inside the mask."""
        return images.filled(images.unregistered_ct[images.mask])
