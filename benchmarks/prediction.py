"""Prediction compared with MONAI's sliding window: time, memory, agreement."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (96, 256, 256)
THREADS = 2
OVERLAP = 0.5
SPREAD = 0.2
"""Standard deviation to which the untrained head's output is scaled: 400 HU before the last tanh.

Without scaling, the small network predicts one value everywhere, so blending has no effect, and the
recipe's saturates, where rounding in float32 alone makes differences of some HU."""

DEMO = "a network of twice the demo's width (1.6 M parameters, instance norm)"
"""The demo's own, of width 8, has 414,593 parameters."""

RECIPE = "the recipe's network (26 M parameters, batch norm)"
NETWORKS: dict[str, dict[str, Any]] = {
    DEMO: {
        "width": 16,
        "norm": "instance",
        "patch": 64,
        "rounds": 2,
    },
    RECIPE: {
        "width": 64,
        "norm": "batch",
        "patch": 256,
        "rounds": 1,
    },
}
SIDES = {
    "monai": "MONAI `sliding_window_inference`, eager torch",
    "ours": "synthct, ONNX Runtime, every window",
    "ours_body": "synthct, ONNX Runtime, windows with body (as `predict` runs)",
}
SLICES = (24, 48, 96, 192, 320)
"""For the page ``prediction_growth``: up to a long scan of 1 mm slices."""


def measure() -> str:
    """A small network; the recipe's has a page of its own."""
    return sides(DEMO)


def sides(name: str) -> str:
    """Every implementation in a process of its own, alternating; the minimum of the rounds."""
    options = NETWORKS[name]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run("prepare", folder, options)
        best: dict[str, dict[str, float]] = {}
        for _ in range(options["rounds"]):
            for side in SIDES:
                got = run(side, folder, options)
                kept = best.setdefault(side, got)
                best[side] = {key: min(kept[key], got[key]) for key in got}
        answers = {side: np.load(folder / f"{side}.npy") for side in SIDES}
        inside = np.load(folder / "mask.npy") > 0
    rows = []
    for side, title in SIDES.items():
        gap = np.abs(answers[side].astype(int) - answers["monai"])[inside]
        rows.append(
            f"| {title} | {best[side]['wall_s']:.1f} | "
            f"{best[side]['wall_s'] / best['monai']['wall_s']:.2f} | "
            f"{best[side]['cpu_s'] / best['monai']['cpu_s']:.2f} | {best[side]['peak_mib']:.0f} | "
            f"{best[side]['peak_mib'] / best['monai']['peak_mib']:.2f} | {gap.max()} | "
            f"{np.mean(gap > 1):.1e} |"
        )
    hu = answers["monai"][inside]
    size = " x ".join(str(n) for n in reversed(SHAPE))
    return "\n".join(
        [
            f"## {size} voxels, {name}",
            "",
            f"2.5-D U-Net++ of 5 slices, windows {options['patch']} x {options['patch']}, overlap "
            f"{OVERLAP}, {THREADS} threads, one pass (no flips). HU inside the body "
            f"{hu.min()} to {hu.max()}. Minimum time of {options['rounds']} rounds.",
            "",
            "| implementation | wall [s] | wall / MONAI | CPU / MONAI | peak memory [MiB] "
            "| peak / MONAI | largest difference in the body [HU] | share above 1 HU |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            "Window starts, Gaussian weights and their minimum equal MONAI's "
            "(`tests/tasks/prediction/test_windows.py` and `test_sliding.py` compare them). The "
            "weights are untrained; the head is scaled so that predictions have a standard "
            "deviation of about 400 HU. GPUs were not measured.",
        ]
    )


def run(side: str, folder: Path, options: dict[str, Any]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.prediction", side, str(folder), json.dumps(options)],
        capture_output=True, text=True, check=False,
        # Torch's threads spin while they wait, which would slow MONAI down on a busy machine.
        env={**os.environ, "OMP_NUM_THREADS": str(THREADS), "OMP_WAIT_POLICY": "PASSIVE"},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{side}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def scan(slices: int) -> tuple[np.ndarray, np.ndarray]:
    """A textured ellipse (two thirds of the box) in noise, as MR, and its mask (Z, Y, X)."""
    shape = (slices, *SHAPE[1:])
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    body = (y[:, None] / 0.85) ** 2 + (x / 0.75) ** 2 < 1
    wave = 300 + 80 * np.sin(24 * y[:, None] + 16 * x) + 40 * np.sin(3 * z)[:, None, None]
    noise = np.random.default_rng(0).normal(0, 8, shape).astype(np.float32)
    mask = np.broadcast_to(body, shape)
    return np.where(mask, wave + noise, np.abs(noise)).astype(np.float32), mask.astype(np.uint8)


def _description(options: dict[str, Any]) -> Any:
    from synthct.tasks.models.description import ModelDescription, SourceScaling, TargetScaling

    network = {"name": "unet_plus_plus", "width": options["width"], "norm": options["norm"]}
    return ModelDescription(
        source="mr", fold=0, network=network, slices=5, divisor=32,
        patch_size=(options["patch"], options["patch"]), spacing_mm=(3.0, 1.0, 1.0),
        source_scaling=SourceScaling(), target_scaling=TargetScaling(),
    )  # fmt: skip


def _network(options: dict[str, Any]) -> Any:
    import torch

    from synthct.tasks.models.description import SourceScaling
    from synthct.tasks.models.networks import NETWORKS
    from synthct.tasks.models.normalise import scale_source

    torch.manual_seed(0)
    chosen = {"slices": 5, "width": options["width"], "norm": options["norm"]}
    network = NETWORKS.build("unet_plus_plus", chosen).build().eval().requires_grad_(False)
    head, seen = network.get_submodule("head"), []
    hook = head.register_forward_hook(lambda *call: seen.append(call[-1]))
    array, mask = scan(5)
    with torch.inference_mode():
        network(torch.from_numpy(scale_source(array, mask, SourceScaling())[None]))
    hook.remove()
    gain = SPREAD / float(seen[0].std())
    head.bias.copy_((head.bias - float(seen[0].mean())) * gain)
    head.weight.mul_(gain)
    return network


def _prepare(folder: Path, options: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    from synthct.tasks.export.graph import export_graph

    network = _network(options)
    save_file(network.state_dict(), folder / "network.safetensors")
    (folder / "network.onnx").write_bytes(export_graph(network, _description(options), 18))
    array, mask = scan(SHAPE[0])
    np.save(folder / "scan.npy", array)
    np.save(folder / "mask.npy", mask)


def _release(folder: Path, options: dict[str, Any]) -> None:
    from synthct.data.files import canonical_json, write_whole
    from synthct.data.volume import Grid, Modality, Volume
    from synthct.data.writers import write_image
    from synthct.tasks.prediction.checksums import write_checksums
    from synthct.tasks.prediction.release import Member, ReleaseDescription

    _prepare(folder, options)
    made = folder / "release"
    made.mkdir()
    (folder / "network.onnx").rename(made / "fold0.onnx")
    (folder / "network.safetensors").rename(made / "fold0.safetensors")
    member = Member(fold=0, onnx="fold0.onnx", weights="fold0.safetensors", network={})
    description = ReleaseDescription(
        source="mr", members=[member], preprocessing=_description(options)
    )
    write_whole(made / "model.json", description.as_text())
    write_whole(made / "card.json", canonical_json({"not_for_clinical_use": "a benchmark"}))
    write_checksums(made)
    for count in SLICES:
        array, _ = scan(count)
        grid = Grid(array.shape, (3.0, 1.0, 1.0))
        write_image(folder / f"{count}.mha", Volume(array, grid, Modality.MR))


def _monai(folder: Path, options: dict[str, Any]) -> Callable[[], np.ndarray]:
    """As in MONAI's examples: neighbours as channels, slices as the batch, Gaussian blending."""
    import torch
    from monai.inferers import sliding_window_inference
    from safetensors.torch import load_file

    from synthct.tasks.models.normalise import scale_source, unscale_target

    torch.set_num_threads(THREADS)
    model, network = _description(options), _network(options)
    network.load_state_dict(load_file(folder / "network.safetensors"))
    scaled = scale_source(
        np.load(folder / "scan.npy"), np.load(folder / "mask.npy"), model.source_scaling
    )
    count = len(scaled)
    order = np.clip(np.arange(count)[:, None] + np.arange(-2, 3), 0, count - 1)

    def infer() -> np.ndarray:
        with torch.inference_mode():
            answer = sliding_window_inference(
                torch.from_numpy(scaled[order]), model.patch_size, 4, network,
                overlap=OVERLAP, mode="gaussian", sigma_scale=0.125,
            )  # fmt: skip
        hu = np.clip(unscale_target(answer[:, 0].numpy(), model.target_scaling), -1024, 3071)
        return np.rint(hu).astype(np.int16)

    return infer


def _ours(folder: Path, options: dict[str, Any], *, side: str) -> Callable[[], np.ndarray]:
    from synthct.data.volume import Grid, Modality, Volume
    from synthct.tasks.models.sliding import predict
    from synthct.tasks.prediction.runtime import onnx_runner

    run = onnx_runner((folder / "network.onnx").read_bytes(), threads=THREADS)
    array, mask = np.load(folder / "scan.npy"), np.load(folder / "mask.npy")
    grid = Grid(array.shape, (3.0, 1.0, 1.0))
    model, source = _description(options), Volume(array, grid, Modality.MR)
    body = Volume(mask, grid, Modality.MASK)
    if side == "ours_body":
        return lambda: predict(run, source, body, model, overlap=OVERLAP, batch=4).hu
    return lambda: _everywhere(run, source, body, model)


def _everywhere(run: Any, source: Any, body: Any, model: Any) -> np.ndarray:
    """Every window, scaled by the body as elsewhere; leaving out windows of air is timed apart."""
    from synthct.tasks.models import sliding

    scale = sliding.fit_source(source.array, body.array, model.source_scaling)
    scaled = source.with_array(scale(source.array))
    ones = body.with_array(np.ones_like(body.array))
    spread, centre = float(scaled.array.std()), float(scaled.array.mean())

    def undo(inputs: np.ndarray) -> np.ndarray:
        return run(inputs * np.float32(spread) + np.float32(centre))

    return sliding.predict(undo, scaled, ones, model, overlap=OVERLAP, batch=4).hu


def _file(folder: Path, slices: int) -> Callable[[], None]:
    from synthct.tasks.prediction.options import PredictOptions
    from synthct.tasks.prediction.predict import predict_file

    options = PredictOptions(tta=False, threads=THREADS)
    names = folder / "release", folder / f"{slices}.mha", folder / f"sct{slices}.mha"
    return lambda: (predict_file(*names, options=options), None)[1]


def _peak_mib() -> float:
    """High-water mark of this process alone (``ru_maxrss`` would count the parent's)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM")


def _child() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("side")
    parser.add_argument("folder", type=Path)
    parser.add_argument("options", type=json.loads)
    given = parser.parse_args()
    if given.side in ("prepare", "release"):
        (_prepare if given.side == "prepare" else _release)(given.folder, given.options)
        print("{}")
        return
    if given.side == "monai":
        infer = _monai(given.folder, given.options)
    elif given.side.startswith("file:"):
        infer = _file(given.folder, int(given.side.removeprefix("file:")))
    else:
        infer = _ours(given.folder, given.options, side=given.side)
    started, cpu = time.perf_counter(), time.process_time()  # imports and loading are not timed
    answer = infer()
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    if answer is not None:
        np.save(given.folder / f"{given.side}.npy", answer)
    print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "peak_mib": _peak_mib()}))


if __name__ == "__main__":
    _child()
