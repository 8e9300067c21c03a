"""A preset proposed from the scans and the machine: fingerprint, plan, forecast.

The idea is nnU-Net's (doi:10.1038/s41592-020-01008-z): settings that depend on the data are derived
from a few of their properties and written to a file that the user can edit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from synthct.data.errors import UsageError
from synthct.data.yaml_text import dump_yaml

if TYPE_CHECKING:
    from synthct.tasks.intake.rows import IntakeRow

SOURCES = ("mr", "cbct")

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Fingerprint:
    """Properties of the data on which the plan depends.

    Parameters
    ----------
    pairs
        Number of patients with a CT and this source.
    patients
        Patients with at least one pair.
    regions
        Patients of each region.
    spacing_mm, extent_mm
        Medians over the source scans of all pairs, (z, y, x).
    """

    pairs: dict[str, int]
    patients: int
    regions: dict[str, int]
    spacing_mm: Triple
    extent_mm: Triple


@dataclass(frozen=True)
class Machine:
    """Properties of the machine on which the plan depends."""

    cores: int
    gpus: int


@dataclass(frozen=True)
class Size:
    """Size of network and training that one kind of machine can handle in hours."""

    most_voxels: float
    width: int
    patch: int
    steps: int
    batch: int
    learning_rate: float


SMALL = Size(1.5e6, 8, 64, 1500, 8, 0.02)
"""For machines without GPU: the recipe of the demo."""

LARGE = Size(2e7, 32, 256, 20_000, 16, 0.005)
"""For a GPU: the recipe of presets/study_gpu.yaml, trained longer."""


def fingerprint(rows: Iterable[IntakeRow]) -> Fingerprint:
    """The fingerprint of the usable pairs.

    Raises
    ------
    UsageError
        ``no-pairs``: fewer than two patients have a CT and an MR or cone-beam CT.
    """
    scans: dict[str, dict[str, IntakeRow]] = {}
    for row in rows:
        if row.status != "refused" and row.scan in ("ct", *SOURCES):
            scans.setdefault(row.patient, {})[row.scan] = row
    pairs = [
        (source, own[source])
        for own in scans.values()
        for source in SOURCES
        if source in own and "ct" in own
    ]
    patients = {row.patient for _, row in pairs}
    if len(patients) < 2:
        raise UsageError(
            f"{len(patients)} patients have a CT and an MR or cone-beam CT",
            rule="training needs at least two patients, of whom one is kept for testing",
            where="--from",
            remedy="add scans, or name the patient of each scan with --manifest",
            code="no-pairs",
        )
    return Fingerprint(
        pairs=dict(sorted(Counter(source for source, _ in pairs).items())),
        patients=len(patients),
        regions=dict(sorted(Counter(scans[one]["ct"].region for one in patients).items())),
        spacing_mm=_median([row.spacing_mm[::-1] for _, row in pairs]),
        extent_mm=_median(
            [
                tuple(n * step for n, step in zip(row.size, row.spacing_mm, strict=True))[::-1]
                for _, row in pairs
            ]
        ),
    )


def propose(
    name: str, found: Fingerprint, machine: Machine, *, steps: int | None = None
) -> dict[str, Any]:
    """Params of the proposed preset that differ from the defaults.

    ``steps``: training steps, in place of those that the kind of machine can do in hours.
    """
    size = LARGE if machine.gpus else SMALL
    steps = steps or size.steps
    grid = _grid(found, size.most_voxels)
    patch = _patch(found, grid, size)
    optimizer = {
        "learning_rate": size.learning_rate, "betas": [0.9, 0.99], "schedule": "one_cycle",
        "warm_up": 0.15, "ema_decay": 0.98,
    }  # fmt: skip
    network: dict[str, Any] = {"name": "unet_plus_plus", "width": size.width, "norm": "instance"}
    if not machine.gpus:
        network["stem_stride"] = 1
    document: dict[str, Any] = {
        "dataset": name,
        "registration": {
            **({} if machine.gpus else {"variant": "demo"}),
            "grid_spacing_mm": list(grid),
        },
        "training": {
            "sources": sorted(found.pairs, reverse=True),
            "folds": min(5, found.patients),
            "network": network,
            **{source: {"patch_size": [patch, patch]} for source in found.pairs},
            "steps": steps,
            "batch": size.batch,
            "flips": ["x"],
            "optimizer": optimizer,
            "precision": "auto",
            "validation_every": max(1, steps // 5),
            "validation_slices": 16,
            "checkpoint_every": 100,
        },
    }
    if found.patients < FEW:
        document["export"] = {"gate": {"when_refused": "demonstration"}}
    return document


FEW = 10
"""Number of patients below which the gate always refuses a release (``export.gate.min_cases``)."""


def preset_text(document: dict[str, Any], found: Fingerprint, machine: Machine) -> str:
    """The preset as YAML, with the reasons as comments."""
    pairs = ", ".join(f"{count} {source.upper()}" for source, count in found.pairs.items())
    spacing = " x ".join(f"{step:g}" for step in found.spacing_mm)
    lines = [
        "# Proposed by `synthct init` from the scans and this machine; edit it as needed.",
        f"# {found.patients} patients; pairs with a CT: {pairs}; voxels (z, y, x): {spacing} mm.",
        f"# Sized for {f'{machine.gpus} GPUs' if machine.gpus else f'{machine.cores} cores'}.",
    ]
    if not machine.gpus:
        lines += [
            "# variant: demo registers in less time than the published parameters; leave it out to",
            "# use these.",
        ]
    if found.patients < FEW:
        lines += [
            f"# Fewer than {FEW} patients are too few for a release: the networks are written as a",
            "# demonstration. Leave `export` out when there are more.",
        ]
    text = dump_yaml(document, sort_keys=False, default_flow_style=None, width=100)
    return "\n".join(lines) + "\n" + text


def _grid(found: Fingerprint, most_voxels: float) -> Triple:
    """Spacing of the scans, or coarser if a case would have more than ``most_voxels`` voxels."""
    voxels = 1.0
    for extent, step in zip(found.extent_mm, found.spacing_mm, strict=True):
        voxels *= extent / step
    factor = max(1.0, (voxels / most_voxels) ** (1 / 3))
    z, y, x = (round(step * factor, 2) for step in found.spacing_mm)
    return z, y, x


def _patch(found: Fingerprint, grid: Triple, size: Size) -> int:
    """A multiple of 32 that fits into the scans, within the limit of the machine."""
    inside = min(found.extent_mm[1] / grid[1], found.extent_mm[2] / grid[2])
    return max(64, min(size.patch, int(inside) // 32 * 32))


def _median(values: list[Any]) -> Triple:
    z, y, x = (round(float(median(axis)), 3) for axis in zip(*values, strict=True))
    return z, y, x
