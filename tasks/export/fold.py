"""Export of one fold in every requested format, read back and compared with the original."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from synthct.data.files import write_whole
from synthct.tasks.export.calibration import Spread, spread_of
from synthct.tasks.export.form_cost import Form, write_forms
from synthct.tasks.export.graph import export_graph
from synthct.tasks.export.int8 import Int8Cost, int8_cost, quantise
from synthct.tasks.export.params import ExportParams
from synthct.tasks.export.parity import Parity, compare
from synthct.tasks.export.programs import (
    export_program,
    module_runner,
    program_runner,
    script_runner,
    trace_script,
)
from synthct.tasks.export.shrink import Calibration
from synthct.tasks.export.shrink.forms import multiply_adds
from synthct.tasks.export.windows import CaseWindows, case_windows
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.models.sliding import Runner
from synthct.tasks.pipeline.artefacts import MODEL, WEIGHTS
from synthct.tasks.prediction.release import Member
from synthct.tasks.prediction.runtime import onnx_runner
from synthct.tasks.training.params import PlugIn
from synthct.tasks.training.plugins import build
from synthct.tasks.training.runner import load_network, torch_runner


@dataclass(frozen=True)
class ExportedFold:
    """An exported fold, and the measurements on it."""

    model: ModelDescription
    member: Member
    parities: dict[str, Parity]
    """By format: ``onnx``, ``safetensors``, ``torch_export``, ``torchscript``."""
    spread: Spread | None = None
    int8: Int8Cost | None = None
    forms: dict[str, Form] = field(default_factory=dict)
    """Smaller forms, by name of their shrinker."""
    int8_bytes: int = 0
    """Size of the 8-bit graph; 0 if there is none."""


def export_fold(
    out: Path,
    name: str,
    fold: Path,
    unseen: Path,
    seen: Sequence[Path],
    params: ExportParams,
) -> ExportedFold:
    """Write ``name``'s files into ``out`` and compare each with the network of ``fold``.

    Parameters
    ----------
    unseen, seen
        Registered cases: one that this network was not trained on, and training cases.
    """
    model = ModelDescription.load(fold / MODEL)
    trained = torch_runner(fold)
    windows = case_windows(unseen, model, params.parity.windows)
    forms = _write_forms(out, name, fold, model, params)
    parities = {
        form: compare(trained, run, windows.inputs, model) for form, (_, run) in forms.items()
    }
    files = {form: file for form, (file, _) in forms.items()}
    int8, cost = None, None
    if params.formats.int8 != "none":
        int8, cost = _write_int8(out, name, forms["onnx"][1], windows, seen, model, params)
    smaller = _write_smaller(out, name, fold, forms["onnx"][1], windows, seen, model, params)
    parities |= {form: one.parity for form, one in smaller.items() if one.file}
    member = Member(
        fold=model.fold,
        onnx=files["onnx"],
        weights=files["safetensors"],
        torch_export=files.get("torch_export"),
        torchscript=files.get("torchscript"),
        int8=int8,
        forms={form: one.file for form, one in smaller.items() if one.file},
        network=model.network,
        validation_mae_hu=model.validation_mae_hu,
    )
    spread = spread_of(trained, windows, model)
    size = (out / int8).stat().st_size if int8 else 0
    return ExportedFold(model, member, parities, spread, cost, smaller, size)


def _write_forms(
    out: Path, name: str, fold: Path, model: ModelDescription, params: ExportParams
) -> Mapping[str, tuple[str, Runner]]:
    """File name and runner of each format; the runner is built from the written bytes."""
    network = load_network(fold)
    graph = export_graph(network, model, params.opset)
    write_whole(out / f"{name}.onnx", graph)
    shutil.copyfile(fold / WEIGHTS, out / f"{name}.safetensors")
    forms = {
        "onnx": (f"{name}.onnx", onnx_runner(graph, threads=torch.get_num_threads())),
        "safetensors": (f"{name}.safetensors", _rebuilt(out / f"{name}.safetensors", model)),
    }
    if params.formats.torch_export:
        program = export_program(network, model)
        write_whole(out / f"{name}.pt2", program)
        forms["torch_export"] = (f"{name}.pt2", program_runner(program))
    if params.formats.torchscript:
        script = trace_script(network, model)
        write_whole(out / f"{name}.ts", script)
        forms["torchscript"] = (f"{name}.ts", script_runner(script))
    return forms


def _rebuilt(weights: Path, model: ModelDescription) -> Runner:
    """The network rebuilt from the description and the weights alone, as a recipient would."""
    network = build(NETWORKS, PlugIn(**model.network), weights.name).build()
    network.load_state_dict(load_file(weights))
    return module_runner(network)


def _write_smaller(
    out: Path,
    name: str,
    fold: Path,
    exact: Runner,
    windows: CaseWindows,
    seen: Sequence[Path],
    model: ModelDescription,
    params: ExportParams,
) -> dict[str, Form]:
    """The forms that ``export.shrink`` lists."""
    if not params.shrink:
        return {}
    network = load_network(fold)
    inputs = np.stack(_seen_windows(seen, model, params))
    calibration = Calibration(model, params.opset, inputs)
    graph = (out / f"{name}.onnx").read_bytes()
    own = (graph, exact, multiply_adds(network, calibration))
    return write_forms(
        out, name, network, params.shrink, calibration, windows, own, params.max_shrink_cost_hu
    )


def _seen_windows(
    seen: Sequence[Path], model: ModelDescription, params: ExportParams
) -> list[NDArray[np.float32]]:
    """Windows of training cases, for calibration."""
    cases = seen[: max(1, params.formats.calibration_windows // 4)]
    each = -(-params.formats.calibration_windows // max(1, len(cases)))
    return [window for case in cases for window in case_windows(case, model, each).inputs]


def _write_int8(
    out: Path,
    name: str,
    exact: Runner,
    windows: CaseWindows,
    seen: Sequence[Path],
    model: ModelDescription,
    params: ExportParams,
) -> tuple[str | None, Int8Cost]:
    """File name of the 8-bit graph, or None if it costs too much accuracy, and that cost."""
    inputs = _seen_windows(seen, model, params)
    graph = quantise((out / f"{name}.onnx").read_bytes(), params.formats.int8, inputs)
    run = onnx_runner(graph, threads=torch.get_num_threads())
    cost = int8_cost(exact, run, windows, model)
    if cost.cost_hu > params.formats.max_int8_cost_hu:
        return None, cost
    write_whole(out / f"{name}.int8.onnx", graph)
    return f"{name}.int8.onnx", cost
