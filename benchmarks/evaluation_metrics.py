"""Image metrics side by side: ours, the direct scipy formulation, MONAI's, scikit-image's.

    python benchmarks/evaluation_metrics.py [--shape 96 256 256] [--repeat 3]

Every implementation is timed in the same process on the same pair of images; the table says
where two compute the same number and by how much they differ.
"""

from __future__ import annotations

import argparse
import functools
import json
import resource
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.signal import fftconvolve

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tasks.evaluation.metrics import METRICS
from tasks.evaluation.pair import masked_pair
from tasks.evaluation.profiles import PROFILES

PROFILE = PROFILES["synthrad2025_container"]


def phantom(shape, rng):
    """A textured body with bones and air, its noisy, blurred copy and the body mask."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij", sparse=True)
    body = (y / 0.75) ** 2 + (x / 0.9) ** 2 + 0 * z < 1
    texture = gaussian_filter(rng.standard_normal(shape), 3)
    hu = np.where(body, 40 + 400 * texture, -1000)
    hu[(texture > 0.09) & body] += 700
    hu[(texture < -0.1) & body] = -800
    prediction = gaussian_filter(hu, 1) + rng.normal(0, 25, shape)
    return hu.astype(np.int16), prediction.astype(np.int16), body


def direct_ms_ssim(reference, prediction, mask, low, high):
    """MS-SSIM written straight from the formulae with scipy's filters."""
    width = high - low
    c1, c2 = (0.01 * width) ** 2, (0.03 * width) ** 2
    images = [
        np.where(mask, np.clip(image.astype(float), low, high), low) - low
        for image in (reference, prediction)
    ]
    pads = [(max(0, 97 - n) // 2, max(0, 97 - n) - max(0, 97 - n) // 2) for n in mask.shape]
    x, y = (np.pad(image, pads, mode="edge") for image in images)
    mask = np.pad(mask, pads, mode="edge")
    score = 1.0
    for weight in (0.0448, 0.2856, 0.3001, 0.2363, 0.1333):
        ux, uy = uniform_filter(x, 7), uniform_filter(y, 7)
        vx = 343 / 342 * (uniform_filter(x * x, 7) - ux * ux)
        vy = 343 / 342 * (uniform_filter(y * y, 7) - uy * uy)
        vxy = 343 / 342 * (uniform_filter(x * y, 7) - ux * uy)
        sx, sy = np.sqrt(np.maximum(vx, 0)), np.sqrt(np.maximum(vy, 0))
        luminance = np.maximum((2 * ux * uy + c1) / (ux**2 + uy**2 + c1), 0)
        contrast = np.maximum((2 * sx * sy + c2) / (vx + vy + c2), 0)
        structure = np.maximum((vxy + c2 / 2) / (sx * sy + c2 / 2), 0)
        inner = (slice(3, -3),) * 3
        level = ((luminance * contrast * structure) ** weight)[inner][mask[inner]]
        score *= np.clip(level.mean(), 0, 1)
        kernel = np.ones((2, 2, 2)) / 8
        x, y = (fftconvolve(image, kernel, "same")[::2, ::2, ::2] for image in (x, y))
        mask = mask[::2, ::2, ::2]
    return float(score)


def direct_ssim_2023(reference, prediction, mask):
    """SSIM-2023 through scikit-image's full map."""
    from skimage.metrics import structural_similarity

    x, y = (
        np.where(mask, np.clip(image.astype(float), -1024, 3000), -1024) + 1024
        for image in (reference, prediction)
    )
    _, full = structural_similarity(x, y, data_range=4024.0, full=True)
    inner = (slice(3, -3),) * 3
    return float(full[inner][mask[inner]].mean())


def monai_ssim(reference, prediction, mask):
    """MONAI's uniform-window SSIM over the whole box (no mask, population covariance)."""
    import torch
    from monai.metrics import SSIMMetric

    x, y = (
        torch.from_numpy(np.where(mask, np.clip(image, -1024, 3000), -1024) + 1024.0)[None, None]
        for image in (reference, prediction)
    )
    metric = SSIMMetric(
        spatial_dims=3, data_range=4024.0, kernel_type="uniform", win_size=7, k1=0.01, k2=0.03
    )
    return float(metric(y.double(), x.double())[0, 0])


def measure(metric, name, pair):
    return metric(pair).values.get(name)


def timed(function, repeat):
    """(value, best wall seconds, peak extra MiB of numpy allocations)."""
    best = float("inf")
    for _ in range(repeat):
        started = time.perf_counter()
        value = function()
        best = min(best, time.perf_counter() - started)
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return value, best, peak / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(96, 256, 256))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    reference, prediction, mask = phantom(tuple(options.shape), np.random.default_rng(1))
    pair = masked_pair(reference, prediction, mask, profile=PROFILE)
    ours = {name: METRICS.build(name, {}) for name in METRICS.names()}
    low, high = PROFILE.low_hu, PROFILE.high_hu
    runs = {
        "masked_pair": lambda: masked_pair(reference, prediction, mask, profile=PROFILE) and None,
        **{f"{name} (ours)": functools.partial(measure, metric, name, pair)
           for name, metric in ours.items()},
        "ms_ssim (direct scipy)": lambda: direct_ms_ssim(reference, prediction, mask, low, high),
        "ssim_2023 (scikit-image)": lambda: direct_ssim_2023(reference, prediction, mask),
        "SSIM whole box (MONAI)": lambda: monai_ssim(reference, prediction, mask),
    }  # fmt: skip
    rows = {}
    for name, run in runs.items():
        value, seconds, peak = timed(run, options.repeat)
        rows[name] = {"value": value, "seconds": round(seconds, 3), "peak_mib": round(peak)}
        shown = "" if value is None else f"{value:.12g}"
        print(f"{name:28s} {seconds:8.3f} s {peak:8.0f} MiB  {shown}")
    ratio = rows["ms_ssim (direct scipy)"]["seconds"] / rows["ms_ssim (ours)"]["seconds"]
    gap = abs(rows["ms_ssim (direct scipy)"]["value"] - rows["ms_ssim (ours)"]["value"])
    print(f"MS-SSIM: {ratio:.1f} times faster than the direct formulation, {gap:.1e} apart")
    print(f"process peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
