"""Weights with few bits: smaller files, with arithmetic in float."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from synthct.tasks.export.graph import export_graph
from synthct.tasks.export.shrink import SHRINKERS, Calibration, Shrunk
from synthct.tasks.export.shrink.forms import multiply_adds
from synthct.tasks.models.rounding import leading_bits
from synthct.tasks.prediction.runtime import onnx_runner

PACKED_OPSET = 21
"""First operator set whose ``DequantizeLinear`` takes 4-bit numbers."""

MIN_WEIGHTS = 256
"""Smaller layers stay in float: their bytes do not matter, and the last ones carry the HU scale."""


@SHRINKERS.register("weight_bits")
@dataclass(frozen=True)
class WeightBits:
    r"""Weights of convolutions as 8- or 4-bit whole numbers with one scale for each filter.

    The numbers are the leading bits of 8-bit weights (:mod:`synthct.tasks.models.rounding`), as
    the regularizer ``nested_bits`` trains them. They are unpacked when the network is loaded;
    activations stay in float, so the time of a slice does not change and no calibration is needed.

    Parameters
    ----------
    bits
        8 or 4: about 0.26 or 0.13 of the bytes.

    References
    ----------
    Nair et al., Matryoshka Quantization, arXiv:2502.06786 (2025).
    """

    bits: Literal[4, 8] = 4

    def shrink(self, network: nn.Module, calibration: Calibration) -> Shrunk:
        """The graph with packed weights, compared with the same rounded weights in float."""
        opset = max(calibration.opset, PACKED_OPSET)
        graph = export_graph(network, calibration.model, opset)
        packed, plain = packed_weights(graph, self.bits)
        return Shrunk(packed, onnx_runner(plain), multiply_adds(network, calibration))


def packed_weights(graph: bytes, bits: int) -> tuple[bytes, bytes]:
    """The graph with packed weights, and the graph with the same weights in float."""
    packed, plain = onnx.load_from_string(graph), onnx.load_from_string(graph)
    names = {node.input[1] for node in plain.graph.node if node.op_type == "Conv"}
    nodes = []
    for number, tensor in enumerate(plain.graph.initializer):
        values = numpy_helper.to_array(tensor)
        if tensor.name not in names or values.size < MIN_WEIGHTS:
            continue
        leading, unit = leading_bits(values, bits)
        shape = (-1, *(1 for _ in values.shape[1:]))
        plain.graph.initializer[number].CopyFrom(
            numpy_helper.from_array(leading.astype(np.float32) * unit.reshape(shape), tensor.name)
        )
        packed.graph.initializer[number].CopyFrom(_packed(f"{tensor.name}_bits", leading, bits))
        packed.graph.initializer.append(numpy_helper.from_array(unit, f"{tensor.name}_unit"))
        nodes.append(
            helper.make_node(
                "DequantizeLinear",
                [f"{tensor.name}_bits", f"{tensor.name}_unit"],
                [tensor.name],
                axis=0,
            )
        )
    for number, node in enumerate(nodes):
        packed.graph.node.insert(number, node)
    return tuple(proto.SerializeToString(deterministic=True) for proto in (packed, plain))  # type: ignore[return-value]


def _packed(name: str, leading: NDArray[np.int8], bits: int) -> onnx.TensorProto:
    if bits == 8:
        return numpy_helper.from_array(leading, name)
    flat = leading.ravel() & 0x0F
    pairs = np.concatenate([flat, np.zeros(flat.size % 2, np.int8)]).astype(np.uint8)
    content = (pairs[::2] | pairs[1::2] << 4).tobytes()
    return helper.make_tensor(name, TensorProto.INT4, leading.shape, content, raw=True)
