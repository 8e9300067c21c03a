"""Run by the interpreter of ``.venv-peers``: SSIM of two volumes by torchmetrics, timed.

.venv-peers/bin/python benchmarks/_torchmetrics.py IMAGES.npz REPEAT
"""

import json
import sys
import time

import numpy as np
import torch
from torchmetrics.functional.image import structural_similarity_index_measure


def main() -> None:
    """Uniform window of 7 over the whole box; prints the value and the best wall seconds."""
    stored = np.load(sys.argv[1])
    # In float32: its convolution in float64 unfolds every window and asks for some 80 GB.
    x, y = (torch.from_numpy(stored[name]).float()[None, None] for name in ("x", "y"))
    best = float("inf")
    for _ in range(int(sys.argv[2])):
        started = time.perf_counter()
        value = structural_similarity_index_measure(
            y, x, gaussian_kernel=False, kernel_size=7, data_range=4024.0
        )
        best = min(best, time.perf_counter() - started)
    print(json.dumps({"value": float(value), "seconds": best}))


if __name__ == "__main__":
    main()
