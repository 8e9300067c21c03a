"""A network after `two_point` calibration, on cone-beam scanners that training has not seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._cbct_scanners_cases import (
    FOLDER,
    HELD,
    KINDS,
    TEST,
    TRAIN,
    case_names,
    make_digital,
)
from benchmarks.cbct_scanners import gap, loss, table
from synthct.data.files import canonical_json, write_whole
from synthct.data.store.volumes import read_volume
from synthct.data.volume import Modality, Volume
from synthct.tasks.models.calibration import calibrate
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.networks.residual import KNOTS
from synthct.tasks.models.sliding import predict
from synthct.tasks.training.fit import fit
from synthct.tasks.training.params import TrainingParams
from synthct.tasks.training.runner import load_network

METHODS = {
    "two_point": "`two_point`",
    "whole": "network, corrections not shrunk",
    "mean": "mean of the network (not shrunk) and `two_point`",
    "model": "network, corrections shrunk",
}
EVERY = 8
"""Slices are scored at this distance."""

TRAINING: dict[str, Any] = {
    "sources": ["cbct"],
    "network": {
        "name": "unet_plus_plus",
        "slices": 3,
        "width": 8,
        "stem_stride": 1,
        "norm": "instance",
    },
    "cbct": {
        "patch_size": [64, 64],
        "source_scaling": {"kind": "two_point"},
        "residual": True,
        "response_spread": 0.08,
    },
    "steps": 130,
    "batch": 4,
    "flips": ["x"],
    "optimizer": {
        "learning_rate": 0.01,
        "betas": [0.9, 0.99],
        "schedule": "one_cycle",
        "warm_up": 0.15,
        "ema_decay": 0.98,
    },
    "validation_every": 130,
    "validation_slices": 2,
    "history_every": 10,
    "checkpoint_every": 50,
    "precision": "auto",
    "device": "cpu",
}
"""A small network and few steps, which two cores can train."""


def measure() -> str:
    """Make the scans, train, score; the page."""
    torch.set_num_threads(1)
    for _ in make_digital(FOLDER):
        pass
    network = train(FOLDER)
    scores = {case: _scored(case, network) for case in case_names(TEST)}
    return "\n\n".join([_setting(network), table(scores, METHODS), _claims(scores)])


def train(folder: Path) -> Path:
    """The network's folder, trained if it is not there; resumed after a kill."""
    network = folder / "network"
    if (network / "model.json").is_file():
        return network
    train, held = case_names(TRAIN), case_names(HELD)
    scratch = folder / "scratch"
    for made in (network, scratch):
        made.mkdir(parents=True, exist_ok=True)
    fit(
        out=network,
        scratch=scratch,
        source="cbct",
        fold=0,
        seed=18,
        params=TrainingParams.model_validate(TRAINING, strict=False).as_json(),
        split={"train": train, "validation": held, "test": [], "held_out": "patients"},
        regions=dict.fromkeys([*train, *held], "head-neck"),
        **{
            f"{case}/{kind}": folder / case / f"{kind}.zarr"
            for case in [*train, *held]
            for kind in KINDS
        },
    )
    return network


def _scored(case: str, network: Path) -> dict[str, float]:
    """MAE [HU] of each method in some slices; kept in a file beside the case."""
    kept = network / f"{case}.json"
    if kept.is_file():
        return dict(json.loads(kept.read_text()))
    source, ct, mask = (read_volume(FOLDER / case / f"{kind}.zarr") for kind in KINDS)
    chosen = mask.array.copy()
    chosen[np.arange(len(chosen)) % EVERY != EVERY // 2] = 0
    inside = chosen > 0
    wanted = Volume(chosen, mask.grid, Modality.MASK)
    description = ModelDescription.load(network / "model.json")
    model = load_network(network)
    blind = np.clip(calibrate(source.array, mask.array).hu(source.array), -1024, 3071)
    found = {"two_point": blind, "model": _predicted(model, source, mask, wanted, description)}
    model.get_buffer("share").fill_(1.0)
    found["whole"] = _predicted(model, source, mask, wanted, description)
    found["mean"] = 0.5 * (found["whole"] + blind)
    truth = ct.array[inside].astype(np.float64)
    scores = {name: float(np.abs(found[name][inside] - truth).mean()) for name in METHODS}
    write_whole(kept, canonical_json(scores))
    return scores


def _predicted(
    model: torch.nn.Module,
    source: Volume,
    mask: Volume,
    wanted: Volume,
    description: ModelDescription,
) -> NDArray[np.float32]:
    def run(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(model(torch.from_numpy(np.ascontiguousarray(inputs))).numpy())

    made = predict(run, source, mask, description, overlap=0.25, wanted=wanted)
    return made.hu.astype(np.float32)


def _setting(network: Path) -> str:
    model = ModelDescription.load(network / "model.json")
    shares = load_network(network).get_buffer("share").tolist()
    listed = ", ".join(
        f"{share:.2f} at {2047.5 * knot:.0f}" for knot, share in zip(KNOTS, shares, strict=True)
    )
    steps, batch = TRAINING["steps"], TRAINING["batch"]
    return (
        "Scans as in [cone-beam scanners](cbct_scanners.md). The network of "
        "`training.cbct.residual` (`unet_plus_plus`, width 8) was trained on "
        f"{len(TRAIN)} slabs with two scanners each for **{steps} steps** of {batch} patches of "
        "64 x 64. That is far fewer than training needs: the figures show that the method runs, "
        "not what it can reach. The shares of its corrections were fitted to "
        f"{len(HELD)} other slabs whose scanners have every parameter beyond its trained range "
        f"(validation MAE {model.validation_mae_hu:.1f} HU): {listed} HU. Test: {len(TEST)} "
        "further slabs, each through a scanner within the ranges and one with every parameter "
        f"beyond them. MAE [HU] inside body and field of view, in every {EVERY}th slice."
    )


def _claims(scores: dict[str, dict[str, float]]) -> str:
    lines = ["Paired over the slabs, with 95 % bootstrap intervals (rough, from few slabs):", ""]
    lines += [
        f"* {where}: {METHODS['model']}, minus {METHODS[other]}: "
        f"{gap(scores, 'model', other, scan)}"
        for scan, where in enumerate(("within the ranges", "beyond them"))
        for other in ("two_point", "whole", "mean")
    ]
    lines += [
        f"* {METHODS[method]}: error beyond the ranges over error within them "
        f"{loss(scores, method)}"
        for method in METHODS
    ]
    return "\n".join(lines)
