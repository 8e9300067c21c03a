"""Storage of sparse weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import nn

from synthct.tasks.export.graph import export_graph
from synthct.tasks.export.shrink import SHRINKERS, Calibration, Shrunk
from synthct.tasks.export.shrink.forms import multiply_adds
from synthct.tasks.prediction.runtime import onnx_runner

BYTES_EACH = 12
"""Size of a stored weight [bytes]: a float and its index, which has 64 bits in ONNX."""


@SHRINKERS.register("sparse_storage")
@dataclass(frozen=True)
class SparseStorage:
    r"""Weights with many zeros as sparse tensors: places and values of those that are not.

    A tensor with the share *p* of zeros takes :math:`3 (1 - p)` of its bytes; one that would grow
    stays dense. Nothing is changed, and the runtime unpacks the tensors when it loads them, so the
    time of a slice does not change. For networks trained with the regularizer ``sparse_weights``.

    References
    ----------
    ONNX, SparseTensorProto, https://onnx.ai/onnx/repo-docs/IR.html.
    """

    def shrink(self, network: nn.Module, calibration: Calibration) -> Shrunk:
        """The same graph with sparse initializers, compared with the dense one."""
        graph = export_graph(network, calibration.model, calibration.opset)
        return Shrunk(sparse(graph), onnx_runner(graph), multiply_adds(network, calibration))


def sparse(graph: bytes) -> bytes:
    """The graph with sparse tensors for all weights that become smaller."""
    proto = onnx.load_from_string(graph)
    dense = list(proto.graph.initializer)
    del proto.graph.initializer[:]
    for tensor in dense:
        values = numpy_helper.to_array(tensor).ravel()
        at = np.flatnonzero(values)
        if tensor.data_type != onnx.TensorProto.FLOAT or len(at) * BYTES_EACH >= values.nbytes:
            proto.graph.initializer.append(tensor)
            continue
        proto.graph.sparse_initializer.append(
            helper.make_sparse_tensor(
                numpy_helper.from_array(values[at], tensor.name),
                numpy_helper.from_array(at.astype(np.int64), f"{tensor.name}_places"),
                tensor.dims,
            )
        )
    return bytes(proto.SerializeToString(deterministic=True))
