"""One trial: a network trained on one fold of one set of pairs, its test cases scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from synthct.data.files import canonical_json, write_whole
from synthct.data.store.volumes import read_volume
from synthct.data.temporary import temporary_folder
from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.pair import masked_pair
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.sliding import predict
from synthct.tasks.pipeline.artefacts import HISTORY, MODEL
from synthct.tasks.training.fit import FitArguments, fit
from synthct.tasks.training.runner import torch_runner

TRIAL = "trial.json"


def trial(
    *,
    out: Path,
    scratch: Path,
    training: FitArguments,
    references: Sequence[str],
    metrics: Sequence[str],
    **files: Path,
) -> None:
    """Unit: train, score, and write ``trial.json`` and ``history.csv``; the weights are not kept.

    Parameters
    ----------
    training
        What the network is trained with; the test cases of its split are scored.
    references
        Names of the references of test cases.
    metrics
        Registered image metrics.
    files
        ``CASE/source``, ``CASE/mask``, and ``CASE/ct`` of training and validation cases or
        ``CASE/REFERENCE`` of test cases: stored volumes.
    """
    split = training["split"]
    seen = {*split["train"], *split["validation"]}
    learned = {name: path for name, path in files.items() if name.split("/")[0] in seen}
    with temporary_folder("trial", scratch) as model:
        fit(out=model, scratch=scratch, **training, **learned)
        description = ModelDescription.load(model / MODEL)
        scores = [
            score
            for case in split["test"]
            for score in _scores(case, model, description, references, metrics, files)
        ]
        write_whole(out / HISTORY, (model / HISTORY).read_bytes())
    document = {"validation_mae_hu": description.validation_mae_hu, "scores": scores}
    write_whole(out / TRIAL, canonical_json(document))


def _scores(
    case: str,
    model: Path,
    description: ModelDescription,
    references: Sequence[str],
    metrics: Sequence[str],
    files: Mapping[str, Path],
) -> Iterator[dict[str, Any]]:
    source, mask = read_volume(files[f"{case}/source"]), read_volume(files[f"{case}/mask"])
    hu = predict(torch_runner(model), source, mask, description).hu
    for reference in references:
        ct = read_volume(files[f"{case}/{reference}"]).array
        pair = masked_pair(ct, hu, mask.array, spacing_mm=source.grid.spacing_mm)
        for metric in metrics:
            for name, value in METRICS.build(metric, {})(pair).values.items():
                row = {"case": case, "reference": reference, "metric": name}
                yield {**row, "value": None if value is None else float(f"{value:.9g}")}
