"""Registration by an own feature network: digital patients, against MIND and untrained weights.

    python -m benchmarks pretraining

The network is pretrained on scans of other digital patients, which are not registered, and compared
as the similarity ``impact`` with one of the same shape and random weights. A row is a patient.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.registration_phantom import patient
from synthct.data.errors import DataError
from synthct.data.store.volumes import write_volume
from synthct.data.temporary import temporary_folder
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.pretraining.fit import SCRIPT, pretrain
from synthct.tasks.pretraining.network import make_learner
from synthct.tasks.pretraining.torchscript import save_script, scripted
from synthct.tasks.registration.align import align
from synthct.tasks.registration.job import Job
from synthct.tasks.registration.methods import METHODS

REGION, SOURCE, VOXEL_MM = "thorax", "mr", 8.0
SEEN = range(100, 106)
"""Seeds of the patients whose scans are learned from."""
TESTED = range(int(os.environ.get("SYNTHCT_BENCH_PATIENTS", "6")))
"""Seeds of the pairs that are registered."""
STEPS = 250
NETWORK: Mapping[str, Any] = {"width": 8, "stem_stride": 1, "slices": 3, "norm": "instance"}
PATCH = (32, 32)
OBJECTIVES = ("tico", "masked_latents")


def measure() -> str:
    """The table."""
    torch.set_num_threads(1)
    with temporary_folder("pretraining") as folder:
        files = _scans(folder)
        networks = {"untrained": _untrained(folder)}
        seconds = {}
        for name in OBJECTIVES:
            begun = time.process_time()
            networks[name] = _pretrained(folder, files, name)
            seconds[name] = time.process_time() - begun
            sys.stderr.write(f"{name}: {seconds[name]:.0f} CPU s\n")
        rows = [_row(seed, networks) for seed in TESTED]
    return _page(rows, seconds)


def _scans(folder: Path) -> dict[str, Path]:
    files = {}
    for seed in SEEN:
        pair = patient(REGION, SOURCE, seed, VOXEL_MM).pair
        parts = {
            SOURCE: pair.fixed, f"{SOURCE}_body": pair.fixed_body,
            "ct": pair.moving, "ct_body": pair.moving_body,
        }  # fmt: skip
        for name, volume in parts.items():
            files[f"p{seed}/{name}"] = folder / f"p{seed}_{name}.zarr"
            write_volume(files[f"p{seed}/{name}"], volume)
    return files


def _untrained(folder: Path) -> Path:
    network = NETWORKS.build("unet_plus_plus", NETWORK)
    torch.manual_seed(0)
    trunk = make_learner(network, (), PATCH, 64).student.trunk
    file = folder / "untrained.pt"
    script = scripted(trunk, slices=network.slices, flat=True, divisor=network.divisor)
    save_script(file, script)
    return file


def _pretrained(folder: Path, files: Mapping[str, Path], objective: str) -> Path:
    out, scratch = folder / objective / "out", folder / objective / "scratch"
    out.mkdir(parents=True)
    scratch.mkdir()
    pretrain(
        out=out,
        scratch=scratch,
        unit="mr_fold0",
        source=SOURCE,
        seed=1,
        spacing_mm=(VOXEL_MM,) * 3,
        params={"objectives": [{"name": objective}], "steps": STEPS, "device": "cpu"},
        training={
            "sources": [SOURCE], "network": {"name": "unet_plus_plus", **NETWORK},
            SOURCE: {"patch_size": list(PATCH)},
        },
        **files,
    )  # fmt: skip
    return out / SCRIPT


def _row(seed: int, networks: Mapping[str, Path]) -> dict[str, float]:
    case = patient(REGION, SOURCE, seed, VOXEL_MM)
    nothing = METHODS.build("mi", {"factors": [8], "iterations": [1]})
    steps = align(
        case.pair, case.grid, case.stock_preset, nothing, seed=seed, tell=lambda step: None
    )
    assert steps.rigid is not None
    row = {"rigid": case.error_mm(steps.rigid)}
    methods: dict[str, tuple[str, dict[str, Any]]] = {"mind": ("mind", {})}
    for name, file in networks.items():
        options = {"network": str(file), "similarity": {"distance": "cosine"}}
        methods[name] = ("impact", options)
    for name, (method, options) in methods.items():
        job = Job.of(case.pair, case.grid, case.stock_preset, seed=seed, threads=1)
        try:
            row[name] = case.error_mm(METHODS.build(method, options).deformable(job, steps.rigid))
        except DataError:
            row[name] = row["rigid"]  # what stands where a method gives up
        sys.stderr.write(f"seed {seed} {name}: {row[name]:.2f} mm\n")
    return row


def _page(rows: list[dict[str, float]], seconds: Mapping[str, float]) -> str:
    lines = [
        f"{len(rows)} digital patients, MR with CT, {REGION}, voxels of {VOXEL_MM:g} mm. Mean "
        "error inside the body [mm], mean over the patients, after the same rigid step; *better*: "
        "patients on which the row is closer than MIND. The networks (U-Net++ of width 8) saw the "
        f"MR and the CT of {len(SEEN)} other patients, unpaired, for {STEPS} steps.",
        "",
        "| similarity | error | difference from MIND | better | CPU s of pretraining |",
        "|---|---:|---:|---:|---:|",
    ]
    mind = np.array([row["mind"] for row in rows])
    for name in rows[0]:
        found = np.array([row[name] for row in rows])
        label = {"rigid": "*rigid step alone*", "mind": "mind"}.get(name, f"impact, {name}")
        apart = "" if name == "mind" else f"{(found - mind).mean():+.2f}"
        better = "" if name == "mind" else f"{int((found < mind).sum())} of {len(rows)}"
        price = f"{seconds[name]:.0f}" if name in seconds else ""
        lines.append(f"| {label} | {found.mean():.2f} | {apart} | {better} | {price} |")
    return "\n".join(lines)
