"""Where the rigid step puts the bone of real limbs: by mutual information, and by bone itself."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from benchmarks.real_peers import WORKSPACE
from docs.make_real import names
from synthct.data.store.volumes import read_volume
from synthct.data.volume import Modality
from synthct.tasks.pipeline.artefacts import MASK, SOURCE, UNREGISTERED_CT
from synthct.tasks.registration.bone import bone_darkness
from synthct.tasks.registration.elastix.run import run_rigid
from synthct.tasks.registration.gate.measures import AIR_HU, moved_scan
from synthct.tasks.registration.job import Job
from synthct.tasks.registration.presets import preset_called
from synthct.tasks.registration.rigid.bone_pose import bone_pose
from synthct.tasks.registration.rigid.starts import Overview
from synthct.tasks.registration.scan_pair import ScanPair

PRESET = "mr_AB_demo"
"""What the chain uses for limbs with ``variant: demo``."""

BODY_HU = -500.0
SEED = 1


def measure() -> str:
    """A row for each pair, and the means."""
    known, rows, seconds = names(), [], []
    for folder in sorted((WORKSPACE / "artefacts" / "registration").glob("*_mr")):
        name = known[folder.name.removesuffix("_mr")][0]
        pair = _pair(folder)
        found = {"as delivered": sitk.Euler3DTransform(), "elastix": _by_information(pair)}
        started = time.process_time()
        starts = [found["elastix"], found["as delivered"]]
        found["then by bone"] = bone_pose(pair, starts, seed=SEED) or found["elastix"]
        seconds.append(time.process_time() - started)
        view = Overview.of(pair)
        body = np.asarray(pair.fixed_body.array) > 0
        rows.append(
            (
                name,
                [
                    bone_darkness(pair.fixed, moved_scan(pair, pair.fixed.grid, pose), body)
                    for pose in found.values()
                ],
                [view.information(pose) for pose in found.values()],
            )
        )
    head = (
        f"{len(rows)} limbs, hips and shoulders (`synthct run --preset sts51_short` first). Bone "
        "darkness is the probability that a voxel of dense bone of the CT is darker in the MR than "
        "soft tissue near it: 1 at best, 0.5 by chance. Elastix is the rigid step by mutual "
        "information alone, from the delivered pose; the search by bone starts from its result and "
        f"from the delivered pose, and takes {np.median(seconds):.1f} CPU seconds (median)."
    )
    lines = [
        "| patient | bone darkness: delivered | elastix | then by bone | mutual information: "
        "delivered | elastix | then by bone |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, dark, informed in sorted(rows, key=lambda row: row[0]):
        cells = [_cell(value, 2) for value in dark] + [_cell(value, 3) for value in informed]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    dark, informed = (
        np.array([[np.nan if value is None else value for value in row[column]] for row in rows])
        for column in (1, 2)
    )
    means = [f"{value:.3f}" for value in (*np.nanmean(dark, axis=0), *informed.mean(axis=0))]
    lines.append(f"| mean | {' | '.join(means)} |")
    return "\n\n".join([head, "\n".join(lines)])


def _pair(folder: Path) -> ScanPair:
    mr, ct, mask = (read_volume(folder / name) for name in (SOURCE, UNREGISTERED_CT, MASK))
    body = (np.asarray(ct.array) > BODY_HU).astype(np.uint8)
    whole = ct.with_array(np.maximum(ct.array, AIR_HU))
    return ScanPair(mr, whole, mask, ct.with_array(body, Modality.MASK))


def _by_information(pair: ScanPair) -> sitk.Euler3DTransform:
    preset = preset_called(PRESET)
    job = Job.of(pair, pair.fixed.grid, preset, seed=SEED, threads=1)
    images = job.placed(sitk.Euler3DTransform())
    centre_mm = pair.fixed.grid.centre_mm
    return run_rigid(images, preset.rigid, centre_mm=centre_mm, seed=SEED, threads=1)


def _cell(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
