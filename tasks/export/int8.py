"""Quantization of a graph to 8 bits with ONNX Runtime, and its cost in HU."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from synthct.data.temporary import temporary_folder
from synthct.tasks.export.graph import INPUT, strip
from synthct.tasks.export.windows import CaseWindows
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.normalise import unscale_target
from synthct.tasks.models.sliding import Runner


@dataclass(frozen=True)
class Int8Cost:
    """Effect of 8 bits on windows of unseen cases, inside the body.

    Parameters
    ----------
    mean_change_hu, largest_change_hu
        |8-bit - float| [HU].
    mae_float_hu, mae_int8_hu
        Against the registered CT [HU].
    """

    mean_change_hu: float
    largest_change_hu: float
    mae_float_hu: float
    mae_int8_hu: float

    @property
    def cost_hu(self) -> float:
        """Increase of the mean absolute error [HU]; infinite if the output is not finite."""
        rise = self.mae_int8_hu - self.mae_float_hu
        return rise if np.isfinite(rise) else float("inf")

    def as_json(self) -> dict[str, Any]:
        """For the card."""
        return {name: float(f"{value:.4g}") for name, value in vars(self).items()}


class _Windows(CalibrationDataReader):  # type: ignore[misc]
    """Windows one at a time."""

    def __init__(self, inputs: Sequence[NDArray[np.float32]]) -> None:
        self._left: Iterator[NDArray[np.float32]] = iter(inputs)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        window = next(self._left, None)
        return None if window is None else {INPUT: window[None]}


def quantise(graph: bytes, kind: str, windows: Sequence[NDArray[np.float32]]) -> bytes:
    """The graph with 8-bit convolutions; ``windows`` (C, Y, X) calibrate the static kind."""
    with temporary_folder("int8") as folder:
        before, after = folder / "float.onnx", folder / "int8.onnx"
        before.write_bytes(graph)
        level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)
        try:
            if kind == "dynamic":
                quantize_dynamic(
                    before, after, weight_type=QuantType.QUInt8, op_types_to_quantize=["Conv"]
                )
            else:
                quantize_static(
                    before,
                    after,
                    _Windows(windows),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    op_types_to_quantize=["Conv"],
                    nodes_to_exclude=_ends(graph),
                )
        finally:
            logging.getLogger().setLevel(level)
        return bytes(strip(onnx.load(after)).SerializeToString(deterministic=True))


def _ends(graph: bytes) -> list[str]:
    """First and last convolution, which stay in float: they carry the intensity scales."""
    names = [n.name for n in onnx.load_from_string(graph).graph.node if n.op_type == "Conv"]
    return [names[0], names[-1]] if len(names) > 2 else []


def int8_cost(
    exact: Runner, int8: Runner, windows: CaseWindows, model: ModelDescription
) -> Int8Cost:
    """Run both on the windows of an unseen case."""
    hu = [
        unscale_target(run(windows.inputs)[:, 0], model.target_scaling)[windows.inside]
        for run in (exact, int8)
    ]
    ct = windows.ct_hu[windows.inside]
    change = np.abs(hu[1] - hu[0])
    return Int8Cost(
        mean_change_hu=float(change.mean()),
        largest_change_hu=float(change.max()),
        mae_float_hu=float(np.abs(hu[0] - ct).mean()),
        mae_int8_hu=float(np.abs(hu[1] - ct).mean()),
    )
