"""MONAI's U-Net on the real patients, with the folds and the steps of ``sts51_short``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from monai.networks.nets.unet import UNet
from monai.transforms.compose import Compose
from monai.transforms.croppad.dictionary import RandSpatialCropd, SpatialPadd
from monai.transforms.spatial.dictionary import RandFlipd
from numpy.typing import NDArray

from synthct.data.store.volumes import read_volume
from synthct.data.tables import read_table
from synthct.tasks.chain.params import load_params
from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.pair import masked_pair
from synthct.tasks.evaluation.statistics.paired import paired_bootstrap, ratio_of_means
from synthct.tasks.pipeline.artefacts import CT, FOLDS, MASK, SCORES, SOURCE

WORKSPACE = Path(os.environ.get("SYNTHCT_REAL_WORKSPACE", "workspaces/sts51_short"))
"""After ``synthct run --preset sts51_short``."""
LOW_HU, HIGH_HU = -1024.0, 3071.0
PATCH = (64, 64)
RATES = {"Adam at 1e-3": 1e-3, "Adam, one cycle to 5e-3": 5e-3}
"""Peak rates of one cycle: a common one, and that of the workspace's networks."""
METRIC_NAMES = ("mae_hu", "bone_dice", "psnr_db")

Slices = list[dict[str, NDArray[np.float32]]]


def measure() -> str:
    """Train one network a fold, score its unseen patients, and compare them with ours."""
    artefacts = WORKSPACE / "artefacts"
    params = load_params(WORKSPACE / "params.yaml").training
    folds = json.loads((artefacts / "training" / FOLDS).read_text())["mr"]
    ours = _ours(artefacts / "evaluation" / SCORES)
    theirs: dict[str, dict[str, dict[str, float | None]]] = {name: {} for name in RATES}
    seen: dict[str, list[float]] = {name: [] for name in RATES}
    taken_s = []
    for number, fold in enumerate(folds):
        training = [
            one for case in fold["train"] for one in _slices(artefacts / "registration" / case)
        ]
        for name, scores in theirs.items():
            started = time.process_time()
            network = train(
                training, RATES[name], steps=params.steps, batch=params.batch, seed=number
            )
            taken_s.append(time.process_time() - started)
            seen[name].append(_on_training(network, training))
            for case in ours.keys() & set(fold["test"]):
                scores[case] = _score(network, artefacts / "registration" / case)
    cases = sorted(ours)
    lines = [
        "MONAI's `UNet` (16 to 256 channels, two residual units a level, batch norm), its crops "
        f"and flips, scaling by percentiles, L1: {params.steps} steps of {params.batch} patches of "
        "64 x 64 voxels, as the workspace's own networks. Validation patients are not used. "
        f"{len(cases)} patients, each unseen by its network; {np.mean(taken_s):.0f} s of processor "
        "time to train a fold. So few steps do not suffice for this network: its error on its own "
        "training slices is in the last column. The table says which recipe learns faster, and "
        "nothing about networks that are trained to the end.",
        "",
        "| | MAE [HU] | bone Dice | PSNR [dB] | MAE on training slices [HU] |",
        "|---|---|---|---|---|",
    ]
    for label, scores in (
        ("synthct", ours),
        *((f"MONAI, {name}", found) for name, found in theirs.items()),
    ):
        means = [_mean([scores[case].get(name) for case in cases]) for name in METRIC_NAMES]
        own = seen.get(label.removeprefix("MONAI, "))
        last = f"{np.mean(own):.1f}" if own else ""
        lines.append(f"| {label} | {means[0]:.1f} | {means[1]:.3f} | {means[2]:.2f} | {last} |")
    mae = np.array([ours[case]["mae_hu"] for case in cases], float)
    lines.append("")
    for name, found in theirs.items():
        other = np.array([found[case]["mae_hu"] for case in cases], float)
        ratio = paired_bootstrap(mae, other, ratio_of_means, np.random.default_rng(0))
        ends = "too few" if ratio.low is None else f"{ratio.low:.2f} to {ratio.high:.2f}"
        lines.append(
            f"* MAE of ours over theirs, {name}: {ratio.value:.2f} ({ends}), better in "
            f"{int((mae < other).sum())} of {len(cases)}."
        )
    return "\n".join(lines)


def train(slices: Slices, rate: float, *, steps: int, batch: int, seed: int) -> torch.nn.Module:
    """MONAI's network after ``steps`` steps on random patches of the slices."""
    torch.manual_seed(seed)
    network = UNet(
        spatial_dims=2, in_channels=1, out_channels=1, channels=(16, 32, 64, 128, 256),
        strides=(2, 2, 2, 2), num_res_units=2,
    )  # fmt: skip
    keys = ("source", "ct", "mask")
    draw = Compose(
        [
            SpatialPadd(keys, PATCH),
            RandSpatialCropd(keys, PATCH, random_size=False),
            RandFlipd(keys, prob=0.5, spatial_axis=0),
            RandFlipd(keys, prob=0.5, spatial_axis=1),
        ]
    ).set_random_state(seed)
    optimizer = torch.optim.Adam(network.parameters(), rate)
    warm_up = 0.1 if rate > 1e-3 else 0.02
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=warm_up)
    rng = np.random.default_rng(seed)
    network.train()
    for _ in range(steps):
        drawn = [draw(slices[index]) for index in rng.integers(len(slices), size=batch)]
        source, ct, mask = (torch.stack([torch.as_tensor(one[k]) for one in drawn]) for k in keys)
        loss = ((network(source) - ct).abs() * mask).sum() / mask.sum().clamp(min=1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def _slices(folder: Path) -> Slices:
    """Slices with body of one registered pair; each array (1, Y, X)."""
    mask = read_volume(folder / MASK).array > 0
    source = scaled(read_volume(folder / SOURCE).array)
    ct = read_volume(folder / CT).array.clip(LOW_HU, HIGH_HU)
    target = 2 * (ct.astype(np.float32) - LOW_HU) / (HIGH_HU - LOW_HU) - 1
    return [
        {"source": source[z, None], "ct": target[z, None], "mask": mask[z, None].astype("float32")}
        for z in range(len(mask))
        if mask[z].any()
    ]


def scaled(source: NDArray[Any]) -> NDArray[np.float32]:
    """The scan with its 1st and 99th percentile at 0 and 1, as MONAI scales by percentiles."""
    low, high = np.percentile(source, [1, 99])
    result: NDArray[np.float32] = ((source - low) / max(high - low, 1e-6)).clip(0, 1)
    return result.astype(np.float32)


def _score(network: torch.nn.Module, folder: Path) -> dict[str, float | None]:
    mask = read_volume(folder / MASK)
    source = torch.from_numpy(scaled(read_volume(folder / SOURCE).array))[:, None]
    with torch.no_grad():
        answers: list[Any] = [
            sliding_window_inference(one[None], PATCH, 16, network, overlap=0.5, mode="gaussian")
            for one in source
        ]
    network_units = torch.cat(answers)[:, 0].numpy()
    hu = (network_units.clip(-1, 1) + 1) / 2 * (HIGH_HU - LOW_HU) + LOW_HU
    ct = read_volume(folder / CT)
    pair = masked_pair(ct.array, hu, mask.array, spacing_mm=ct.grid.spacing_mm)
    found: dict[str, float | None] = {}
    for name in METRIC_NAMES:
        found |= METRICS.build(name, {})(pair).values
    return found


def _on_training(network: torch.nn.Module, slices: Slices) -> float:
    """MAE over the body of every fortieth training slice, padded to a multiple of 16 [HU]."""
    errors = []
    with torch.no_grad():
        for one in slices[::40]:
            _, height, width = one["source"].shape
            padded = torch.zeros(1, 1, -(-height // 16) * 16, -(-width // 16) * 16)
            padded[0, :, :height, :width] = torch.as_tensor(one["source"])
            answer = network(padded)[0, 0, :height, :width].numpy()
            inside = one["mask"][0] > 0
            errors.append(float(np.abs(answer - one["ct"][0])[inside].mean()))
    return float(np.mean(errors)) * (HIGH_HU - LOW_HU) / 2


def _ours(table: Path) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = {}
    for row in read_table(table):
        if (row["method"], row["reference"]) == ("model", "registered"):
            found.setdefault(row["case"], {})[row["metric"]] = float(row["value"])
    return found


def _mean(values: Sequence[float | None]) -> float:
    return float(np.mean([value for value in values if value is not None]))
