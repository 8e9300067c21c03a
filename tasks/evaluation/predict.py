"""Predict one test case with its fold's network.

A module of its own: its imports are part of the unit's cache key, and a change to scoring must not
predict every case again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synthct.data.store.volumes import read_volume, write_volume
from synthct.data.volume import Modality, Volume
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.sliding import predict as predict_scan
from synthct.tasks.pipeline.artefacts import MODEL, SCT, SCT_SD


def predict_case(*, out: Path, source: Path, mask: Path, model: Path, tta: bool) -> None:
    """Unit: write ``sct.zarr`` on the source's grid [HU]; with ``tta`` also ``sd.zarr``.

    ``sd.zarr`` is the standard deviation over the flips [HU], stored as float32. The spread over
    folds cannot be had for a test patient: the other folds were trained on it.

    Parameters
    ----------
    source, mask
        Scan and body mask of the registration stage.
    model
        The fold's folder of the training stage.
    tta
        Whether to average over mirrored inputs (test-time augmentation).
    """
    # Imports torch: too slow for reading the stage's docstring alone.
    from synthct.tasks.training.runner import torch_runner

    scan, body = read_volume(source), read_volume(mask)
    description = ModelDescription.load(model / MODEL)
    found = predict_scan(torch_runner(model), scan, body, description, tta=tta, uncertainty=tta)
    write_volume(out / SCT, Volume(found.hu.astype(np.int16), scan.grid, Modality.CT))
    if found.sd_hu is not None:
        write_volume(out / SCT_SD, Volume(found.sd_hu, scan.grid, Modality.CT))
