"""Fit the naive baselines: each training patient is summed once, and the sums added per fold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthct.data.files import canonical_json, write_whole
from synthct.data.store.volumes import read_volume
from synthct.tasks.evaluation.baselines import BASELINES
from synthct.tasks.evaluation.naive import Baseline, Fitted, Sums, TrainingImages
from synthct.tasks.evaluation.uncertainty.likeness import features
from synthct.tasks.models.description import SourceScaling

SUMS, FEATURES = "sums.json", "features.json"


def baselines_for(modality: str, names: Sequence[str]) -> dict[str, Baseline]:
    """The named baselines that apply to the source modality."""
    built = {name: BASELINES.build(name, {}, where="evaluation.baselines") for name in names}
    return {name: baseline for name, baseline in built.items() if modality in baseline.sources}


def sum_case(
    *,
    out: Path,
    source: Path,
    mask: Path,
    ct: Path,
    modality: str,
    scaling: str,
    baselines: list[str],
) -> None:
    """Unit: write ``sums.json`` and ``features.json`` of one training patient.

    Every fold that trains on the patient uses them.

    Parameters
    ----------
    source, mask, ct
        The case's files of the registration stage.
    modality, scaling
        Source modality, and how the network normalises it.
    baselines
        Names of the baselines to sum for.
    """
    scan = read_volume(source)
    images = TrainingImages(
        source=scan.array,
        mask=read_volume(mask).array > 0,
        scaling=SourceScaling.model_validate({"kind": scaling}),
        ct=read_volume(ct).array,
    )
    sums = {
        name: {key: value.tolist() for key, value in baseline.sums(images).items()}
        for name, baseline in baselines_for(modality, baselines).items()
    }
    write_whole(out / SUMS, json.dumps(sums, sort_keys=True) + "\n")
    write_whole(out / FEATURES, canonical_json(features(images, scan.grid.spacing_mm)))


def fit_fold(
    folder: Path, cases: Sequence[str], modality: str, baselines: Sequence[str]
) -> dict[str, Fitted]:
    """Each baseline, fitted to the sums of the fold's training cases in ``folder``."""
    read = [json.loads((folder / case / SUMS).read_text()) for case in sorted(cases)]
    return {
        name: baseline.fit(_total([sums[name] for sums in read]))
        for name, baseline in baselines_for(modality, baselines).items()
        if read
    }


def _total(sums: Sequence[Mapping[str, Any]]) -> Sums:
    # Added in the order of the cases' names, so that the last bit is reproducible.
    return {key: np.sum([np.asarray(one[key], float) for one in sums], axis=0) for key in sums[0]}
