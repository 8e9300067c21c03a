"""Prediction compared with MONAI's sliding window, with the recipe's large network."""

from __future__ import annotations

from benchmarks.prediction import RECIPE, sides


def measure() -> str:
    """As the page ``prediction``, with 26 M parameters and windows of a whole slice."""
    return sides(RECIPE)
