r"""Weights as whole numbers whose leading bits are coarser weights of the same network.

A filter is divided by its step :math:`\Delta = \max |w| / 127` and rounded to
:math:`q \in [-127, 127]`. Its *b* leading bits are

.. math:: q_b = 2^{8 - b} \operatorname{clamp}\left(\left\lfloor q / 2^{8 - b} \right\rceil,
          -2^{b - 1} + 1, 2^{b - 1} - 1\right),

so that one set of 8-bit weights holds those of every smaller width (Nair et al., Matryoshka
Quantization, arXiv:2502.06786). The clamp is symmetric: a filter and its negative round alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_BITS = 8


def leading_bits(
    weights: NDArray[np.float32], bits: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Whole numbers of ``bits`` bits, and the value of one unit for each filter.

    Parameters
    ----------
    weights
        (filters, ...).
    bits
        2 to 8.

    Returns
    -------
    Numbers (filters, ...) in :math:`[-2^{b-1} + 1, 2^{b-1} - 1]`, and units (filters,). Their
    product is the rounded filter; a filter of zeros stays one.
    """
    if not 2 <= bits <= MAX_BITS:
        raise ValueError(f"bits must be from 2 to {MAX_BITS}, got {bits}")
    flat = np.asarray(weights, np.float64).reshape(len(weights), -1)
    step = np.abs(flat).max(axis=1) / 127
    whole = np.rint(flat / np.where(step > 0, step, 1)[:, None])
    factor, most = 2 ** (MAX_BITS - bits), 2 ** (bits - 1) - 1
    leading = np.clip(np.rint(whole / factor), -most, most).astype(np.int8)
    return leading.reshape(weights.shape), (step * factor).astype(np.float32)


def rounded(weights: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """The weights that ``bits`` leading bits stand for."""
    leading, unit = leading_bits(weights, bits)
    return leading.astype(np.float32) * unit.reshape(-1, *(1 for _ in weights.shape[1:]))
