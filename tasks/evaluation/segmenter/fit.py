"""Training of the small segmenter, on the CTs of the training patients only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from synthct.data.errors import DataError
from synthct.data.files import canonical_json, write_whole
from synthct.data.store.volumes import read_volume
from synthct.tasks.evaluation.segmenter.network import SmallUNet, stacks
from synthct.tasks.pipeline.artefacts import WEIGHTS
from synthct.tasks.pipeline.randomness import generator

NAMES = "names.json"

SAME = {"tooth": "bone"}
"""Structures that are merged into another one."""

PATCH, BATCH = 64, 8
"""Side of a patch [pixels], and patches per step."""


@dataclass(frozen=True, eq=False)
class Example:
    """One training patient: slices (Z, 3, Y, X), classes (Z, Y, X), body (Z, Y, X)."""

    images: NDArray[np.float32]
    classes: NDArray[np.uint8]
    body: NDArray[np.bool_]


def fit_segmenter(
    *, out: Path, labels: Path, cases: list[str], steps: int, width: int, seed: int, **scans: Path
) -> None:
    """Unit: train on ``ct_0``, ``anatomy_0``, ``mask_0``, ...; write the frozen network.

    Parameters
    ----------
    labels
        ``labels.json``: label value to ``{"structure": ...}``; each structure is a class.
    cases
        Names of the training cases, which the description repeats.
    steps, width, seed
        Training steps, channels at the finest resolution, and seed of the random streams.
    scans
        CT, label map and body mask of each case, on one grid.

    Raises
    ------
    DataError
        ``labels.json`` names no structure.
    """
    names = json.loads(labels.read_text())
    classes = class_names(names)
    if not classes:
        raise DataError(
            "labels.json names no structure",
            rule="the small segmenter is trained on label maps whose labels.json names structures",
            where=str(labels),
            remedy="give label maps with the dataset, or set evaluation.segmenter to thresholds",
            code="segmenter-no-labels",
        )
    examples = [
        _example(scans[f"ct_{n}"], scans[f"anatomy_{n}"], scans[f"mask_{n}"], names, classes)
        for n in range(len(cases))
    ]
    model = train(examples, len(classes) + 1, steps=steps, width=width, seed=seed)
    save_file(model.state_dict(), out / WEIGHTS)
    description = {"classes": classes, "cases": cases, "steps": steps, "width": width}
    write_whole(out / NAMES, canonical_json(description))


def class_names(names: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Structures of ``labels.json`` in alphabetical order; class 0 is everything else."""
    return sorted({_structure(label) for label in names.values() if "structure" in label})


def classes_of(
    anatomy: NDArray[np.generic], names: Mapping[str, Mapping[str, str]], classes: Sequence[str]
) -> NDArray[np.uint8]:
    """A label map in the segmenter's classes."""
    found = np.zeros(anatomy.shape, np.uint8)
    for value, label in names.items():
        if "structure" in label:
            found[anatomy == int(value)] = classes.index(_structure(label)) + 1
    return found


def load_segmenter(folder: Path) -> tuple[nn.Module, list[str]]:
    """The trained network without gradients, and the names of its classes from 1 on."""
    description = json.loads((folder / NAMES).read_text())
    model = SmallUNet(len(description["classes"]) + 1, description["width"])
    model.load_state_dict(load_file(folder / WEIGHTS))
    return model.eval().requires_grad_(False), list(description["classes"])


def train(
    examples: Sequence[Example], classes: int, *, steps: int, width: int, seed: int
) -> nn.Module:
    r"""Train on random patches with AdamW and a one-cycle schedule; the network without gradients.

    The loss is a balanced cross-entropy plus soft Dice,

    .. math:: L = CE + 1 - \frac{1}{K} \sum_k \frac{2 \sum p_k g_k}{\sum p_k + \sum g_k}

    over the K classes present in the batch, so that small structures count as much as large ones.
    """
    rng = generator(seed, "evaluation", "segmenter")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        model = SmallUNet(classes, width).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=max(2, steps))
    balance = _balance(examples, classes).to(device)
    for _ in range(steps):
        images, wanted = _batch(examples, rng)
        scores = model(torch.from_numpy(images).to(device))
        loss = _loss(scores, torch.from_numpy(wanted).long().to(device), balance)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return model.cpu().eval().requires_grad_(False)


def _loss(scores: Tensor, wanted: Tensor, balance: Tensor) -> Tensor:
    shares = scores.softmax(dim=1)
    truth = functional.one_hot(wanted, scores.shape[1]).movedim(-1, 1).to(shares.dtype)
    present = truth.sum(dim=(0, 2, 3)) > 0
    both = (shares * truth).sum(dim=(0, 2, 3))
    dice = 2 * both / (shares.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))).clamp(min=1.0)
    return functional.cross_entropy(scores, wanted, balance) + 1 - dice[present].mean()


def _balance(examples: Sequence[Example], classes: int) -> Tensor:
    """Weight of each class in the cross-entropy: inverse root of its share, with mean 1."""
    voxels = sum(np.bincount(one.classes[one.body], minlength=classes) for one in examples)
    weights = 1 / np.sqrt(np.maximum(voxels, 1) / np.sum(voxels))
    weights[voxels == 0] = 0.0
    return torch.from_numpy(weights / weights[weights > 0].mean()).float()


def _example(
    ct: Path,
    anatomy: Path,
    mask: Path,
    names: Mapping[str, Mapping[str, str]],
    classes: Sequence[str],
) -> Example:
    body = read_volume(mask).array > 0
    found = classes_of(read_volume(anatomy).array, names, classes)
    return Example(stacks(read_volume(ct).array, body), np.where(body, found, np.uint8(0)), body)


def _batch(
    examples: Sequence[Example], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Patches around body voxels; every second one around a uniformly drawn class."""
    images = np.full((BATCH, examples[0].images.shape[1], PATCH, PATCH), -1.0, np.float32)
    wanted = np.zeros((BATCH, PATCH, PATCH), np.uint8)
    for row in range(BATCH):
        example = examples[int(rng.integers(len(examples)))]
        slice_, y, x = _centre(example, rng, by_class=row % 2 == 1)
        _, height, width = example.body.shape
        top = int(np.clip(y - PATCH // 2, 0, max(0, height - PATCH)))
        left = int(np.clip(x - PATCH // 2, 0, max(0, width - PATCH)))
        part = np.s_[top : top + PATCH, left : left + PATCH]
        high, wide = example.classes[slice_][part].shape
        images[row, :, :high, :wide] = example.images[slice_][:, *part]
        wanted[row, :high, :wide] = example.classes[slice_][part]
    return images, wanted


def _centre(example: Example, rng: np.random.Generator, *, by_class: bool) -> tuple[int, int, int]:
    slices = np.flatnonzero(example.body.any(axis=(1, 2)))
    slice_ = int(rng.choice(slices))
    inside = example.body[slice_]
    if by_class and len(kinds := np.unique(example.classes[slice_][inside])):
        inside = inside & (example.classes[slice_] == rng.choice(kinds))
    y, x = np.nonzero(inside)
    one = int(rng.integers(len(y)))
    return slice_, int(y[one]), int(x[one])


def _structure(label: Mapping[str, str]) -> str:
    return SAME.get(label["structure"], label["structure"])
