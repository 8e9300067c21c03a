"""The unit of the export: all folds of one task as a release folder, or the reason why not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from data.faults import DataFault, Fault
from data.files import canonical_json, write_whole
from data.store import read_volume
from tasks.export.card import make_card
from tasks.export.graph import export_graph
from tasks.export.params import ExportParams
from tasks.export.parity import Parity, check_parity, compare, real_windows
from tasks.ingestion.params import IngestionParams
from tasks.prediction.description import ModelDescription
from tasks.prediction.release import (
    CARD,
    MODEL,
    REFUSED,
    Member,
    ReleaseDescription,
    write_checksums,
)
from tasks.prediction.runtime import onnx_runner
from tasks.training.runner import WEIGHTS, load_network, torch_runner


def release_task(
    *,
    out: Path,
    task: str,
    params: Mapping[str, Any],
    facts: Mapping[str, Any],
    ingestion: Mapping[str, Any],
    refusal: Mapping[str, str] | None,
    **folders: Path,
) -> None:
    """Write the release of one task into ``out``, or ``refused.json`` alone.

    Parameters
    ----------
    task
        ``mr`` or ``cbct``.
    params
        The export section as JSON.
    facts
        What goes on the card besides the models (see ``tasks/export/facts.py``).
    ingestion
        How the training scans were checked, as JSON.
    refusal
        The gate's fault, if it refused: then no graph is made.
    folders
        ``foldK``: the training's folder of that fold; ``caseK``: a registered case that this
        fold's network has not seen, for parity.
    """
    settings = ExportParams.model_validate(dict(params))
    if refusal is not None:
        write_whole(out / REFUSED, canonical_json(dict(refusal)))
        return
    names = sorted(name for name in folders if name.startswith("fold"))
    models = [ModelDescription.load(folders[name] / MODEL) for name in names]
    fault = _disagreement(task, models)
    parities: list[Parity] = []
    if fault is None:
        for name, model in zip(names, models, strict=True):
            case = folders[name.replace("fold", "case")]
            parities.append(_export_fold(out, name, folders[name], case, model, settings))
        fault = check_parity(task, parities, settings.parity)
    if fault is not None:
        _refuse(out, fault)
        return
    _describe(out, names, models, IngestionParams.model_validate_json(json.dumps(ingestion)))
    card = make_card(task, models, parities, facts)
    write_whole(out / CARD, canonical_json(card))
    write_checksums(out)


def _export_fold(
    out: Path, name: str, fold: Path, case: Path, model: ModelDescription, params: ExportParams
) -> Parity:
    graph = export_graph(load_network(fold), model, params.opset)
    inputs = real_windows(
        read_volume(case / "source.zarr"),
        read_volume(case / "mask.zarr"),
        model,
        params.parity.windows,
    )
    runner = onnx_runner(graph, threads=torch.get_num_threads())
    write_whole(out / f"{name}.onnx", graph)
    shutil.copyfile(fold / WEIGHTS, out / f"{name}.safetensors")
    return compare(torch_runner(fold), runner, inputs, model)


def _describe(
    out: Path, names: list[str], models: list[ModelDescription], ingestion: IngestionParams
) -> None:
    members = [
        Member(
            fold=model.fold,
            onnx=f"{name}.onnx",
            weights=f"{name}.safetensors",
            network=model.network,
            validation_mae_hu=model.validation_mae_hu,
        )
        for name, model in zip(names, models, strict=True)
    ]
    description = ReleaseDescription(
        task=models[0].task,
        members=members,
        preprocessing=_without_cases(models[0]),
        ingestion=ingestion,
    )
    write_whole(out / MODEL, description.as_text())


def _without_cases(model: ModelDescription) -> ModelDescription:
    empty: dict[str, Any] = {"train_cases": [], "validation_cases": [], "test_cases": []}
    return model.model_copy(update=empty)


_SHARED = (
    "dimensions", "slices", "patch_size", "divisor", "spacing_mm", "source_scaling",
    "target_scaling", "outside_hu",
)  # fmt: skip
"""What the folds of one ensemble must agree on: a scan is prepared once for all of them."""


def _disagreement(task: str, models: list[ModelDescription]) -> Fault | None:
    if not models:
        raise DataFault(
            "a release holds at least one trained fold",
            where=task,
            got="none",
            remedy="see training's excluded.json for why",
            code="no-folds",
        )
    for model in models[1:]:
        for name in _SHARED:
            first, other = getattr(models[0], name), getattr(model, name)
            if first != other:
                return Fault(
                    "all folds of a release prepare a scan in the same way",
                    where=f"{task} fold {model.fold}, {name}",
                    got=f"{other} beside {first}",
                    remedy="train all folds with the same params",
                    code="folds-disagree",
                )
    return None


def _refuse(out: Path, fault: Fault) -> None:
    for file in out.iterdir():
        file.unlink()
    write_whole(out / REFUSED, canonical_json(fault.as_json()))
