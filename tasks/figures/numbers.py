"""Numbers as text for readers: units, equal decimals, a true minus sign."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from synthct.tasks.figures.names import MEASURES

UNITS = {
    "_mm3": "mm³", "_mm": "mm", "_hu": "HU", "_db": "dB", "_percent": "%", "_deg": "°",
    "_degrees": "°", "_s": "s", "_ml": "ml", "_cm3": "cm³",
}  # fmt: skip
"""Unit for each suffix of a column's name."""

_WORDS = {
    "mae": "MAE", "me": "ME", "ct": "CT", "mr": "MR", "cbct": "CBCT", "hu": "HU", "psnr": "PSNR",
    "ssim": "SSIM", "id": "ID", "sd": "SD", "p01": "1st centile", "p95": "95th centile",
    "p99": "99th centile", "l1": "L1", "zyx": "(z, y, x)",
}  # fmt: skip
"""Parts of names that are abbreviations."""


LABELS = {
    "true_unregistered_mm": ("True error before", "mm"),
    "true_best_rigid_mm": ("of the best rigid fit", "mm"),
    "true_rigid_mm": ("after the rigid step", "mm"),
    "true_registered_mm": ("True error after", "mm"),
    "mean_mm": ("Mean displacement", "mm"),
    "max_mm": ("Max displacement", "mm"),
    **MEASURES,
}
"""Columns whose label cannot be derived from their name."""


def minus(text: str) -> str:
    """A true minus sign in front of a number."""
    return f"−{text[1:]}" if text.startswith("-") else text


def fixed(value: float, digits: int) -> str:
    """A number with ``digits`` decimals; never minus zero."""
    text = f"{value:.{digits}f}"
    return minus(text if float(text) else text.lstrip("-"))


def short(value: float) -> str:
    """About three figures, for sentences."""
    return fixed(value, digits_for([value]))


def digits_for(values: Sequence[float]) -> int:
    """Decimals for a column of numbers: about three figures for its largest."""
    finite = [abs(v) for v in values if np.isfinite(v)]
    largest = max(finite, default=0.0)
    if all(v == round(v) for v in finite):
        return 0
    return int(np.clip(2 - np.floor(np.log10(largest or 1.0)), 0, 4))


def plural(word: str, count: int) -> str:
    """The word, with an s unless the count is 1."""
    return word if count == 1 else f"{word}s"


def mean_sd(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation (n - 1); the mean alone for fewer than three values."""
    if not values:
        return ""
    mean = fixed(float(np.mean(values)), digits)
    if len(values) < 3:
        return mean
    return f"{mean} ± {fixed(float(np.std(values, ddof=1)), digits)}"


def label_and_unit(name: str) -> tuple[str, str]:
    """Label and unit of a column or key such as ``error_p95_mm``."""
    if name in LABELS:
        return LABELS[name]
    for suffix in sorted(UNITS, key=len, reverse=True):
        if name.endswith(suffix) and name != suffix[1:]:
            return _words(name.removesuffix(suffix)), UNITS[suffix]
    return _words(name), ""


def _words(name: str) -> str:
    words = [_WORDS.get(word, word) for word in name.replace(".", " ").replace("_", " ").split()]
    text = " ".join(words)
    return text[:1].upper() + text[1:] if words and words[0].islower() else text


_PATH = re.compile(r"(?<![\w./:])(?:/[\w.@+-]+){2,}")


def without_folders(text: str) -> str:
    """The text with absolute paths cut to their last two parts: results hold no machine paths."""
    return _PATH.sub(lambda found: "/".join(found.group().split("/")[-2:]), text)
