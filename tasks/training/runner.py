"""Trained weights as a function of arrays, for the sliding window of prediction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from synthct.data.errors import MachineError
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.pipeline.artefacts import MODEL, WEIGHTS
from synthct.tasks.training.params import PlugIn
from synthct.tasks.training.plugins import build


def load_network(folder: Path) -> nn.Module:
    """The trained network of a unit folder, on the CPU, in evaluation mode.

    Raises
    ------
    MachineError
        ``weights-mismatch``.
    """
    description = ModelDescription.load(folder / MODEL)
    network = build(NETWORKS, PlugIn(**description.network), f"{folder}/{MODEL}")
    model = network.build()
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        raise MachineError(
            "the weights do not fit the network that model.json describes: "
            f"{str(error).splitlines()[0]}",
            where=str(folder / WEIGHTS),
            remedy="run training again",
            code="weights-mismatch",
        ) from error
    return model.eval().requires_grad_(False)


def torch_runner(
    folder: Path, device: str = "cpu"
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A runner (B, C, Y, X) -> (B, 1, Y, X) for ``synthct.tasks.models.sliding.predict``."""
    model = load_network(folder).to(device)

    def run(source: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            inputs = torch.from_numpy(np.ascontiguousarray(source)).to(device)
            out: NDArray[np.float32] = model(inputs).float().cpu().numpy()
        return out

    return run
