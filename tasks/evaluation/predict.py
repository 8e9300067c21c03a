"""One unseen case through the network that has never seen it."""

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

    ``sd.zarr`` is the standard deviation over the flips [HU], float32 as a CT: what the network
    is unsure of in the one way that an unseen patient allows (other folds have seen it).
    A unit of its own, so that another metric or threshold does not predict anything again.
    """
    from synthct.tasks.training.runner import (
        torch_runner,
    )  # the report asks this stage for a sentence only

    scan, body = read_volume(source), read_volume(mask)
    description = ModelDescription.load(model / MODEL)
    found = predict_scan(torch_runner(model), scan, body, description, tta=tta, uncertainty=tta)
    write_volume(out / SCT, Volume(found.hu.astype(np.int16), scan.grid, Modality.CT))
    if found.sd_hu is not None:
        write_volume(out / SCT_SD, Volume(found.sd_hu, scan.grid, Modality.CT))
