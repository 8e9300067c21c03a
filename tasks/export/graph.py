"""A trained network as an ONNX graph with reproducible bytes."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import onnx
import torch

from synthct.tasks.models.description import ModelDescription

INPUT, OUTPUT = "source", "synthetic_ct"
"""Names of the graph's input and output, in network units."""

_EXAMPLE_BATCH = 2
"""The tracer treats sizes 0 and 1 as constants, so the example has two."""


def export_graph(network: torch.nn.Module, model: ModelDescription, opset: int) -> bytes:
    """The network as ONNX with dynamic batch and patch sizes (multiples of ``divisor``).

    Input (B, C, Y, X) or (B, 1, Z, Y, X), output with one channel, both float32.
    """
    network = network.eval()
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network,
            (example_input(model),),
            dynamo=True,
            dynamic_shapes=(free_sizes(model),),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=opset,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return bytes(strip(program.model_proto).SerializeToString(deterministic=True))


def example_input(model: ModelDescription) -> torch.Tensor:
    """Zeros of a size that no tracer treats as a constant."""
    channels = model.slices if model.dimensions == "2.5d" else 1
    sizes = [max(2 * model.divisor, size) for size in model.patch_size]
    return torch.zeros(_EXAMPLE_BATCH, channels, *sizes)


def free_sizes(model: ModelDescription) -> dict[int, Any]:
    """Dynamic axes of the input, with sizes that are multiples of ``divisor``."""
    names = ("y", "x") if model.dimensions == "2.5d" else ("z", "y", "x")
    free: dict[int, Any] = {0: torch.export.Dim("batch")}
    for axis, name in enumerate(names, start=2):
        free[axis] = model.divisor * torch.export.Dim(name)
    return free


def strip(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without stack traces, file names and producer: they differ between machines."""
    stripped = onnx.ModelProto()
    stripped.CopyFrom(proto)
    stripped.producer_name, stripped.producer_version, stripped.doc_string = "synthct", "", ""
    del stripped.metadata_props[:]
    _strip_graph(stripped.graph)
    for function in stripped.functions:
        _clear([function, *function.node, *function.value_info])
    return stripped


def _strip_graph(graph: onnx.GraphProto) -> None:
    graph.name = "synthct"
    named = (graph.input, graph.output, graph.value_info, graph.initializer)
    _clear([graph, *graph.node, *(value for values in named for value in values)])
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                _strip_graph(inner)


def _clear(messages: Sequence[Any]) -> None:
    for message in messages:
        message.doc_string = ""
        del message.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which warns, logs and prints its progress."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logger = logging.getLogger("torch.onnx")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
