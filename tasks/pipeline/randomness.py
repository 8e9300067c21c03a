"""Random streams named by their purpose: nothing reads a global generator."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *names: str) -> int:
    """A 63-bit seed from ``(seed, stage, case, ...)``; changing any name changes the stream."""
    digest = hashlib.sha256("\0".join([str(seed), *names]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *names: str) -> np.random.Generator:
    """NumPy generator of the stream ``(seed, stage, case, ...)``."""
    return np.random.default_rng(derive_seed(seed, *names))
