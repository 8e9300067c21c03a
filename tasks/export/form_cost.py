"""Smaller forms of a fold: written, compared, and their bytes, arithmetic and cost in HU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synthct.data.files import write_whole
from synthct.tasks.export.parity import Parity, compare
from synthct.tasks.export.shrink import SHRINKERS, Calibration
from synthct.tasks.export.windows import CaseWindows
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.normalise import unscale_target
from synthct.tasks.models.sliding import Runner
from synthct.tasks.prediction.runtime import onnx_runner
from synthct.tasks.training.params import PlugIn
from synthct.tasks.training.plugins import build

TISSUES = {"air": (-32768, -200), "soft": (-200, 150), "bone": (150, 32768)}
"""[low, high) of the reference CT [HU]."""


@dataclass(frozen=True)
class FormCost:
    """A form compared with its original network, on windows of an unseen case.

    Parameters
    ----------
    bytes, bytes_float
        Of the two files.
    multiply_adds, multiply_adds_float
        Of one window.
    mae_hu, mae_float_hu
        Mean absolute error inside the body against the registered CT [HU], by tissue of that CT
        and over ``all``; a tissue that the windows lack is absent.
    released
        Whether it is in the release: smaller or with less arithmetic, at a cost that is allowed.
    """

    bytes: int
    bytes_float: int
    multiply_adds: int
    multiply_adds_float: int
    mae_hu: Mapping[str, float]
    mae_float_hu: Mapping[str, float]
    released: bool

    @property
    def cost_hu(self) -> float:
        """Increase of the mean absolute error [HU]; infinite if it is not finite."""
        rise = self.mae_hu["all"] - self.mae_float_hu["all"]
        return rise if np.isfinite(rise) else float("inf")

    def as_json(self) -> dict[str, Any]:
        """For the card."""
        short = lambda values: {name: float(f"{v:.4g}") for name, v in values.items()}  # noqa: E731
        return {
            **vars(self), "mae_hu": short(self.mae_hu), "mae_float_hu": short(self.mae_float_hu),
        }  # fmt: skip


@dataclass(frozen=True)
class Form:
    """A form and its file name, which is empty if the form was left out."""

    file: str
    parity: Parity
    cost: FormCost


def write_forms(
    out: Path,
    name: str,
    network: torch.nn.Module,
    entries: Sequence[PlugIn],
    calibration: Calibration,
    windows: CaseWindows,
    exact: tuple[bytes, Runner, int],
    most_cost_hu: float,
) -> dict[str, Form]:
    """Write ``NAME.FORM.onnx`` for each shrinker of the params whose form meets the limits.

    Parameters
    ----------
    network
        In evaluation mode.
    entries
        ``export.shrink``.
    windows
        Of a case that the network was not trained on.
    exact
        The network's own graph, its runner, and its multiply-adds.
    """
    graph, run_exact, adds = exact
    model = calibration.model
    before = mae_by_tissue(run_exact, windows, model)
    found = {}
    for entry in entries:
        shrunk = build(SHRINKERS, entry, "export.shrink").shrink(network, calibration)
        run = onnx_runner(shrunk.graph, threads=torch.get_num_threads())
        after = mae_by_tissue(run, windows, model)
        gains = len(shrunk.graph) < len(graph) or shrunk.multiply_adds < adds
        rise = after["all"] - before["all"]
        released = gains and bool(np.isfinite(rise)) and rise <= most_cost_hu
        file = f"{name}.{entry.name}.onnx"
        if released:
            write_whole(out / file, shrunk.graph)
        found[entry.name] = Form(
            file if released else "",
            compare(shrunk.reference, run, windows.inputs, model),
            FormCost(
                len(shrunk.graph), len(graph), shrunk.multiply_adds, adds, after, before, released
            ),
        )
    return found


def mae_by_tissue(run: Runner, windows: CaseWindows, model: ModelDescription) -> dict[str, float]:
    """Mean absolute error [HU] inside the body, over ``all`` and by tissue of the CT."""
    hu = unscale_target(run(windows.inputs)[:, 0], model.target_scaling)[windows.inside]
    ct: NDArray[np.float32] = windows.ct_hu[windows.inside]
    error = np.abs(hu - ct)
    found = {"all": float(error.mean())}
    for tissue, (low, high) in TISSUES.items():
        part = (ct >= low) & (ct < high)
        if part.any():
            found[tissue] = float(error[part].mean())
    return found


def choices(folds: Sequence[Mapping[str, FormCost]], int8: Sequence[int]) -> dict[str, str]:
    """Names of the ``fast`` and the ``small`` form; a key is absent if no form is better.

    Parameters
    ----------
    folds
        Forms of each fold. A form counts if every fold released it.
    int8
        Bytes of each fold's 8-bit graph; empty if not every fold has one.
    """
    names = set.intersection(
        *({name for name, form in fold.items() if form.released} for fold in folds)
    )
    if not names:
        return {"small": "int8"} if int8 else {}
    some = next(iter(names))
    adds = {name: sum(fold[name].multiply_adds for fold in folds) for name in names}
    sizes = {name: sum(fold[name].bytes for fold in folds) for name in names}
    if int8:
        sizes["int8"] = sum(int8)
    found = {}
    if min(adds.values()) < sum(fold[some].multiply_adds_float for fold in folds):
        found["fast"] = min(sorted(adds), key=lambda name: adds[name])
    if min(sizes.values()) < sum(fold[some].bytes_float for fold in folds):
        found["small"] = min(sorted(sizes), key=lambda name: sizes[name])
    return found
