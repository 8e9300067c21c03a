"""Patches per second and memory of the training loader, compared with MONAI and TorchIO."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CASES, SHAPE, CHUNK = 8, (64, 192, 192), None
PATCH, SLICES, BATCH, BATCHES = (64, 64), 5, 8, 60
RAM_GB = 0.05
"""Limit of the cache in the bounded runs: a quarter of the voxels."""

PEERS = Path(".venv-peers/bin/python")


def pair(seed: int) -> dict[str, np.ndarray]:
    """A textured body of two tissues, its CT and mask."""
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[[slice(-1, 1, n * 1j) for n in SHAPE]]
    mask = (y / 0.8) ** 2 + (x / 0.9) ** 2 + 0 * z < 1
    source = rng.normal(100, 20, SHAPE).astype(np.float32)
    ct = np.where(mask, rng.integers(-50, 900, SHAPE), -1000).astype(np.int16)
    return {"source": source, "ct": ct, "mask": mask}


def write_store(folder: Path) -> None:
    """The pairs as registration stores them, and as files for the other programs."""
    import SimpleITK as sitk

    from synthct.data.store.volumes import write_volume
    from synthct.data.volume import Grid, Modality, Volume

    kinds = {"source": Modality.MR, "ct": Modality.CT, "mask": Modality.MASK}
    for number in range(CASES):
        for kind, array in pair(number).items():
            volume = Volume(array, Grid(SHAPE, (3.0, 1.0, 1.0)), kinds[kind])
            write_volume(folder / f"case{number}" / f"{kind}.zarr", volume)
            image = sitk.GetImageFromArray(
                array.astype(np.uint8 if kind == "mask" else array.dtype)
            )
            sitk.WriteImage(image, str(folder / f"case{number}" / f"{kind}.nii.gz"))


def ours(
    folder: Path, ram_gb: float, scratch_gb: float = 0.0, steps: bool = False
) -> dict[str, float]:
    """This project's sampler and its thread; with ``steps`` also the demo's training."""
    import torch

    from synthct.tasks.models.description import SourceScaling, TargetScaling
    from synthct.tasks.training.cases import ARRAYS, open_case
    from synthct.tasks.training.chunks import ChunkCache, Spill
    from synthct.tasks.training.patches import PatchSampler, PatchShape, ahead

    torch.set_num_threads(1)
    files = [
        (path.name, {kind: path / f"{kind}.zarr" for kind in ARRAYS})
        for path in sorted(folder.glob("case*"))
    ]
    cases = [open_case(name, "thorax", kinds, SourceScaling()) for name, kinds in files]
    cache = ChunkCache(int(ram_gb * 1e9), Spill(folder, int(scratch_gb * 1e9)))
    sampler = PatchSampler(
        cases=cases, cache=cache, shape=PatchShape(PATCH, SLICES), scaling=TargetScaling(),
        size=BATCH, seed=0, stream="patches", flips=("x",),
    )  # fmt: skip
    for number in range(BATCHES):  # fill the cache
        sampler.batch(number)
    started = time.perf_counter()
    for _ in ahead(sampler.batch, range(BATCHES, 2 * BATCHES)):
        pass
    rate = BATCH * BATCHES / (time.perf_counter() - started)
    found = {"patches_per_s": rate, "held_mb": cache.bytes / 1e6}
    found["rss_mb"] = rss_mb()
    if steps:
        from benchmarks.regularizer_price import Arm, demo

        arm = Arm(demo(), ())
        arm.steps(2)
        started = time.perf_counter()
        arm.steps(10)
        found["step_patches_per_s"] = 10 * demo().batch / (time.perf_counter() - started)
    return found


def monai(folder: Path) -> dict[str, float]:
    """CacheDataset with everything cached, RandSpatialCrop, one worker thread of its loader."""
    import torch
    from monai.data import CacheDataset, ThreadDataLoader
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        NormalizeIntensityd,
        RandFlipd,
        RandSpatialCropd,
    )

    torch.set_num_threads(1)
    keys = ["source", "ct", "mask"]
    files = [
        {kind: str(path / f"{kind}.nii.gz") for kind in keys}
        for path in sorted(folder.glob("case*"))
    ]
    transform = Compose(
        [
            LoadImaged(keys),
            EnsureChannelFirstd(keys),
            NormalizeIntensityd("source", nonzero=False),
            # MONAI reads files as (x, y, z).
            RandSpatialCropd(keys, (PATCH[1], PATCH[0], SLICES), random_size=False),
            RandFlipd(keys, prob=0.5, spatial_axis=0),
        ]
    )
    data = CacheDataset(files, transform, num_workers=0, progress=False)
    loader = ThreadDataLoader(data, batch_size=BATCH, num_workers=0, buffer_size=2)
    return _timed(loader, epochs=BATCHES * BATCH // CASES)


def torchio(folder: Path) -> dict[str, float]:
    """Queue over a LabelSampler of the body."""
    import torch
    import torchio as tio

    torch.set_num_threads(1)
    subjects = [
        tio.Subject(
            source=tio.ScalarImage(path / "source.nii.gz"),
            ct=tio.ScalarImage(path / "ct.nii.gz"),
            mask=tio.LabelMap(path / "mask.nii.gz"),
        )
        for path in sorted(folder.glob("case*"))
    ]
    transform = tio.Compose([tio.ZNormalization(include=["source"]), tio.RandomFlip(axes=(0,))])
    sampler = tio.LabelSampler((PATCH[1], PATCH[0], SLICES), "mask")
    repeats = max(1, BATCH * BATCHES // CASES // 30)
    queue = tio.Queue(
        tio.SubjectsDataset(subjects * repeats, transform=transform), max_length=120,
        samples_per_volume=30, sampler=sampler, num_workers=0,
    )  # fmt: skip
    return _timed(tio.SubjectsLoader(queue, batch_size=BATCH, num_workers=0))


def _timed(loader, epochs: int = 1) -> dict[str, float]:
    started, count = time.perf_counter(), 0
    for _ in range(epochs):
        for _ in loader:
            count += BATCH
    seconds = time.perf_counter() - started
    return {"patches_per_s": count / seconds, "rss_mb": rss_mb()}


def rss_mb() -> float:
    """Largest resident memory of this process so far [MB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def child(python: Path | str, name: str, folder: Path) -> dict[str, float] | None:
    """One loader in a process of its own; None where it cannot be imported."""
    done = subprocess.run(
        [str(python), "-m", "benchmarks.training_loader", name, str(folder)],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode:
        print(f"{name}: {done.stderr.strip().splitlines()[-1:]}")
        return None
    return json.loads(done.stdout.splitlines()[-1])


RUNS = {
    "ours": lambda folder: ours(folder, 4.0, steps=True),
    "ours, bounded": lambda folder: ours(folder, RAM_GB, scratch_gb=4.0),
    "ours, bounded, no scratch file": lambda folder: ours(folder, RAM_GB),
    "ours, no cache": lambda folder: ours(folder, 1e-6),
    "MONAI CacheDataset + RandSpatialCrop": monai,
    "TorchIO Queue + LabelSampler": torchio,
}


def measure() -> str:
    """The table."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_store(folder)
        found = {}
        for name in RUNS:
            python = PEERS if name.startswith("TorchIO") else Path(sys.executable)
            found[name] = child(python, name, folder) if python.exists() else None
    whole, bounded = found["ours"], found["ours, bounded"]
    assert whole is not None
    assert bounded is not None
    empty = found["ours, no cache"]
    ratio = whole["patches_per_s"] / whole["step_patches_per_s"]
    bounded_ratio = bounded["patches_per_s"] / whole["step_patches_per_s"]
    grown = bounded["rss_mb"] - empty["rss_mb"] if empty else float("nan")
    rows = ["| loader | patches/s | / ours | peak resident MB |", "|---|---|---|---|"]
    for name, numbers in found.items():
        if numbers is None:
            rows.append(f"| {name} | not installed | | |")
            continue
        share = numbers["patches_per_s"] / whole["patches_per_s"]
        rows.append(
            f"| {name} | {numbers['patches_per_s']:.0f} | {share:.2f} | {numbers['rss_mb']:.0f} |"
        )
    return "\n".join(
        [
            f"{CASES} pairs of {SHAPE}, patches of {SLICES} x {PATCH}, batches of {BATCH}, one "
            "thread each. Ours samples patches around voxels of the body and scales the source. "
            "MONAI crops anywhere, with all scans in memory.",
            "",
            *rows,
            "",
            f"The demo's training step consumes {whole['step_patches_per_s']:.0f} patches/s on one "
            f"thread. The loader makes {ratio:.1f} times as many, and {bounded_ratio:.1f} times as "
            "many if the scans do not fit into memory and are kept in the scratch file.",
            "",
            f"With `max_ram_gb: {RAM_GB}` the cache holds {bounded['held_mb']:.1f} MB of decoded "
            f"voxels. The peak memory of the process is {grown:.0f} MB larger than without a "
            "cache.",
        ]
    )


if __name__ == "__main__":
    print(json.dumps(RUNS[sys.argv[1]](Path(sys.argv[2]))))
