"""One unseen case through the network that has never seen it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.store import read_volume, write_volume
from data.volume import Modality, Volume
from tasks.prediction.description import ModelDescription
from tasks.prediction.sliding import predict_hu

SCT = "sct.zarr"


def predict_case(*, out: Path, source: Path, mask: Path, model: Path, tta: bool) -> None:
    """Unit: write ``sct.zarr`` on the source's grid [HU].

    A unit of its own, so that another metric or threshold does not predict anything again.
    """
    from tasks.training.runner import torch_runner  # the report asks this stage for a sentence only

    scan, body = read_volume(source), read_volume(mask)
    description = ModelDescription.load(model / "model.json")
    hu = predict_hu(torch_runner(model), scan, body, description, tta=tta)
    write_volume(out / SCT, Volume(hu.astype(np.int16), scan.grid, Modality.CT))
