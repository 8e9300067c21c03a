"""Numbers and names as people read them: units spelled, digits even, a true minus sign."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

UNITS = {
    "_mm3": "mm³", "_mm": "mm", "_hu": "HU", "_db": "dB", "_percent": "%", "_deg": "°",
    "_degrees": "°", "_s": "s", "_ml": "ml", "_cm3": "cm³",
}  # fmt: skip
"""Unit that the end of a column's name stands for."""

SOURCE_NAMES = {"mr": "MR → CT", "cbct": "CBCT → CT"}
MODALITIES = {"ct": "CT", "mr": "MR", "cbct": "CBCT"}
REFERENCES = {"registered": "against the registered CT", "truth": "against the true CT",
              "source": "against the source scan"}  # fmt: skip
METHODS = {
    "model": "model",
    "linear": "linear calibration",
    "lookup": "intensity look-up",
    "constant": "constant tissue",
    "raw": "CBCT itself",
    "unregistered": "unregistered CT",
    "registered": "registered CT",
    "ceiling": "true CT itself",
}
"""Methods in the order they are shown."""

MEASURES = {
    "mae_hu": ("MAE", "HU"),
    "me_hu": ("ME", "HU"),
    "psnr_db": ("PSNR", "dB"),
    "ms_ssim": ("MS-SSIM", ""),
    "ssim_2023": ("SSIM 2023", ""),
}
"""Image metrics: name and unit."""

_WORDS = {
    "mae": "MAE", "me": "ME", "ct": "CT", "mr": "MR", "cbct": "CBCT", "hu": "HU", "psnr": "PSNR",
    "ssim": "SSIM", "id": "ID", "sd": "SD", "p01": "1st centile", "p95": "95th centile",
    "p99": "99th centile", "l1": "L1", "zyx": "(z, y, x)",
}  # fmt: skip
"""Parts of names that are not plain words."""


LABELS = {
    "true_unregistered_mm": ("True error before", "mm"),
    "true_best_rigid_mm": ("of the best rigid fit", "mm"),
    "true_rigid_mm": ("after the rigid step", "mm"),
    "true_registered_mm": ("True error after", "mm"),
    "mean_mm": ("Mean displacement", "mm"),
    "max_mm": ("Max displacement", "mm"),
    **MEASURES,
}
"""Columns whose label does not follow from their name."""


def minus(text: str) -> str:
    """A true minus sign in front of a number."""
    return f"−{text[1:]}" if text.startswith("-") else text


def fixed(value: float, digits: int) -> str:
    """A number with so many decimals; never minus zero."""
    text = f"{value:.{digits}f}"
    return minus(text if float(text) else text.lstrip("-"))


def short(value: float) -> str:
    """About three figures, for sentences."""
    return fixed(value, digits_for([value]))


def digits_for(values: Sequence[float]) -> int:
    """Decimals that a column of such numbers needs: about three figures for its largest."""
    finite = [abs(v) for v in values if np.isfinite(v)]
    largest = max(finite, default=0.0)
    if all(v == round(v) for v in finite):
        return 0
    return int(np.clip(2 - np.floor(np.log10(largest or 1.0)), 0, 4))


def mean_sd(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation (n - 1); the mean alone for fewer than three values."""
    if not values:
        return ""
    mean = fixed(float(np.mean(values)), digits)
    if len(values) < 3:
        return mean
    return f"{mean} ± {fixed(float(np.std(values, ddof=1)), digits)}"


def label_and_unit(name: str) -> tuple[str, str]:
    """Human label and unit of a column or key such as ``error_p95_mm``."""
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
    """The text with absolute paths cut to their last two parts: where a disk lies is no result."""
    return _PATH.sub(lambda found: "/".join(found.group().split("/")[-2:]), text)
