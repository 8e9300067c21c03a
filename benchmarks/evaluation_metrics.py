"""Image metrics compared with scipy, MONAI, torchmetrics and scikit-image."""

from __future__ import annotations

import functools
import itertools
import json
import subprocess
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.signal import fftconvolve

from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.pair import masked_pair
from synthct.tasks.evaluation.profiles import PROFILES
from synthct.tasks.evaluation.structures.overlap import dice, hd95_mm, surface_distances_mm

PROFILE = PROFILES["synthrad2025_container"]
SHAPE = (96, 256, 256)
SPACING_MM = (3.0, 1.0, 1.0)
REPEAT = 3
PEERS = Path(".venv-peers/bin/python")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


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
    """MS-SSIM written directly from the formulas with scipy's filters."""
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


def shifted_images(reference, prediction, mask):
    """Both images as SSIM 2023 takes them."""
    return (
        np.where(mask, np.clip(image.astype(float), -1024, 3000), -1024) + 1024
        for image in (reference, prediction)
    )


def scikit_ssim(reference, prediction, mask):
    """SSIM 2023 through scikit-image's full map."""
    from skimage.metrics import structural_similarity

    x, y = shifted_images(reference, prediction, mask)
    _, full = structural_similarity(x, y, data_range=4024.0, full=True)
    inner = (slice(3, -3),) * 3
    return float(full[inner][mask[inner]].mean())


def monai_ssim(reference, prediction, mask):
    """MONAI's uniform-window SSIM over the whole box (no mask, population covariance)."""
    from monai.metrics import SSIMMetric

    x, y = (
        torch.from_numpy(image)[None, None] for image in shifted_images(reference, prediction, mask)
    )
    metric = SSIMMetric(
        spatial_dims=3, data_range=4024.0, kernel_type="uniform", win_size=7, k1=0.01, k2=0.03
    )
    return float(metric(y.double(), x.double())[0, 0])


def torchmetrics_ssim(reference, prediction, mask):
    """(value, best seconds) of torchmetrics' uniform-window SSIM, in its own environment."""
    x, y = shifted_images(reference, prediction, mask)
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.npz"
        np.savez(images, x=x, y=y)
        child = subprocess.run(
            [str(PEERS), "benchmarks/_torchmetrics.py", str(images), str(REPEAT)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    result = json.loads(child.stdout)
    return result["value"], result["seconds"]


def monai_structures(first, second):
    """Dice and HD95 by MONAI."""
    from monai.metrics import compute_dice, compute_hausdorff_distance

    x, y = (torch.from_numpy(one[None, None]) for one in (first, second))
    overlap = float(compute_dice(y, x, include_background=True))
    far = compute_hausdorff_distance(
        y, x, include_background=True, percentile=95, spacing=SPACING_MM
    )
    return overlap, float(far)


def our_structures(first, second):
    """Dice and HD95 by ours."""
    return dice(first, second), hd95_mm(surface_distances_mm(first, second, SPACING_MM))


def one(metric, name, pair):
    """One number of a metric."""
    return metric(pair).values[name]


def timed(function):
    """(value, best wall seconds, peak extra MiB of numpy allocations as text)."""
    best = float("inf")
    for _ in range(REPEAT):
        started = time.perf_counter()
        value = function()
        best = min(best, time.perf_counter() - started)
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return value, best, f"{peak / 2**20:.0f}"


def runs():
    """(what is computed, who, function); the first of each kind is ours."""
    reference, prediction, mask = phantom(SHAPE, np.random.default_rng(1))
    pair = masked_pair(reference, prediction, mask, profile=PROFILE, spacing_mm=SPACING_MM)
    metric = {name: METRICS.build(name, {}) for name in METRICS.names()}
    ours = {name: functools.partial(one, metric[name], name, pair) for name in
            ("mae_hu", "psnr_db", "ms_ssim", "ssim_2023")}  # fmt: skip
    low, high = PROFILE.low_hu, PROFILE.high_hu
    bones = (reference > 300) & mask, (prediction > 300) & mask
    images = reference, prediction, mask
    yield "MS-SSIM", "ours", ours["ms_ssim"]
    yield "MS-SSIM", "direct scipy", lambda: direct_ms_ssim(*images, low, high)
    by_torch = METRICS.build("ms_ssim", {"device": DEVICE})
    yield "MS-SSIM", f"ours, torch on {DEVICE}", lambda: one(by_torch, "ms_ssim", pair)
    yield "SSIM 2023", "ours", ours["ssim_2023"]
    yield "SSIM 2023", "scikit-image", lambda: scikit_ssim(*images)
    yield (
        "SSIM, whole box",
        "ours, whole box",
        functools.partial(
            one, metric["ssim_2023"], "ssim_2023", masked_pair(*images[:2], spacing_mm=SPACING_MM)
        ),
    )
    yield "SSIM, whole box", "MONAI", lambda: monai_ssim(*images)
    yield "Dice, HD95", "ours", lambda: our_structures(*bones)
    yield "Dice, HD95", "MONAI", lambda: monai_structures(*bones)


def peers():
    """Rows of programs that run in an environment of their own (`make peers`)."""
    if PEERS.exists():
        images = phantom(SHAPE, np.random.default_rng(1))
        yield "SSIM, whole box", "torchmetrics", *torchmetrics_ssim(*images), ""


def measure():
    """The page's text."""
    rows = ["| metric | implementation | value | seconds | seconds / ours | numpy peak [MiB] |",
            "|---|---|---|---|---|---|"]  # fmt: skip
    own: dict[str, float] = {}
    measured = ((what, who, *timed(function)) for what, who, function in runs())
    for what, who, value, seconds, peak in itertools.chain(measured, peers()):
        ratio = f"{seconds / own[what]:.1f}" if what in own else ""
        own.setdefault(what, seconds)
        values = value if isinstance(value, tuple) else (value,)
        shown = ", ".join(f"{v:.10g}" for v in values)
        rows.append(f"| {what} | {who} | {shown} | {seconds:.2f} | {ratio} | {peak} |")
    return (
        f"Volumes of {SHAPE}, int16; minimum time of {REPEAT} runs; every row on the same pair. "
        "Ours computes windows inside the mask only. MONAI and torchmetrics have neither a mask "
        "nor the unbiased covariance NP/(NP-1), so their SSIM is compared with ours over the whole "
        "box. They get images whose background is set to -1024 HU, ours gets the images "
        "unchanged, so the values differ. torchmetrics runs in float32, in an environment of its "
        "own. Torch allocates outside numpy, so its peak is not counted. "
        + ("" if DEVICE == "cuda" else "No GPU was available.")
        + "\n\n"
        + "\n".join(rows)
        + "\n"
    )
