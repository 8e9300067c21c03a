"""Torch engine, mutual information."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.methods.torch_engine import EngineMethod


@METHODS.register("mi")
@dataclass(frozen=True)
class MutualInformation(EngineMethod):
    """Mutual information of the intensities: any two modalities.

    The CT keeps its bone: a window of soft tissue alone puts it into one bin with muscle, and the
    error of one of two digital heads was half as large again. It climbs slowly: with half the
    steps the error of five digital heads was 6 % larger, of six trunks 5 % (with twice as many,
    1 % smaller).
    """

    compares: ClassVar[str] = "mi"
    bending: ClassVar[float] = 3000.0
    ct_window_hu: Sequence[float] | None = (-1000.0, 1500.0)
    iterations: Sequence[int] | None = (120, 120, 80)
