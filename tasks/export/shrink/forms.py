"""Functions shared by the shrinkers: export of a changed network, and multiply-adds of a window."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from synthct.tasks.export.graph import export_graph
from synthct.tasks.export.programs import module_runner
from synthct.tasks.export.shrink import Calibration, Shrunk


def as_shrunk(network: nn.Module, calibration: Calibration) -> Shrunk:
    """A changed network with its ONNX graph, which is compared with the network itself."""
    network.eval().requires_grad_(False)
    return Shrunk(
        graph=export_graph(network, calibration.model, calibration.opset),
        reference=module_runner(network),
        multiply_adds=multiply_adds(network, calibration),
    )


def multiply_adds(network: nn.Module, calibration: Calibration) -> int:
    """Multiply-adds of convolutions and linear layers for one window.

    They say which form is faster without a clock, so that releases are the same on every machine.
    """
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.from_numpy(calibration.inputs[:1].copy()))
    return int(counter.get_total_flops()) // 2
