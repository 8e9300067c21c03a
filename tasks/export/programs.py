"""A trained network as ``torch.export`` program and as TorchScript, with reproducible bytes.

Both formats are for users of PyTorch; ``synthct predict`` opens neither.
"""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from synthct.tasks.export.graph import example_input, free_sizes
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.sliding import Runner

_TRACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn")
"""Metadata of each node that contains paths of this machine."""


def export_program(network: torch.nn.Module, model: ModelDescription) -> bytes:
    """A ``.pt2`` with dynamic batch and patch sizes, the same bytes on every machine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            network.eval(), (example_input(model),), dynamic_shapes=(free_sizes(model),)
        )
        for node in program.graph.nodes:
            for name in _TRACES:
                node.meta.pop(name, None)
        return _saved(lambda file: torch.export.save(program, file))


def trace_script(network: torch.nn.Module, model: ModelDescription) -> bytes:
    """TorchScript by tracing, without debug records, which contain paths of this machine."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        _reset_class_names()
        script = torch.jit.trace(network.eval(), example_input(model), check_trace=False)
        return _without_debug(_saved(lambda file: torch.jit.save(script, file)))


def _reset_class_names() -> None:
    """Reset the numbering of traced classes, which otherwise depends on earlier traces.

    PyTorch's own tests do the same; there is no public function.
    """
    torch._C._jit_clear_class_registry()
    torch.jit._recursive.concrete_type_store = torch.jit._recursive.ConcreteTypeStore()
    torch.jit._state._clear_class_state()


def program_runner(program: bytes) -> Runner:
    """Runner of a ``.pt2`` that this process wrote."""
    return _runner(torch.export.load(io.BytesIO(program)).module())


def script_runner(script: bytes) -> Runner:
    """Runner of TorchScript that this process wrote."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return _runner(torch.jit.load(io.BytesIO(script)))


def module_runner(network: torch.nn.Module) -> Runner:
    """Runner of a network in PyTorch."""
    return _runner(network.eval())


def _runner(module: Callable[[torch.Tensor], torch.Tensor]) -> Runner:
    def run(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            return np.asarray(module(torch.from_numpy(np.ascontiguousarray(inputs))).numpy())

    return run


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    save(file)
    return file.getvalue()


_MANGLED = re.compile(rb"___torch_mangle_(\d+)")
_VARYING = (".debug_pkl", ".data/serialization_id")


def _without_debug(script: bytes) -> bytes:
    """The archive with a fixed date, without debug records, and with classes numbered from 0.

    Class names occur in the code as text and in ``data.pkl`` up to the end of a line, so the
    length of the number may change.
    """
    with zipfile.ZipFile(io.BytesIO(script)) as old:
        members = {
            name.encode(): old.read(name) for name in old.namelist() if not name.endswith(_VARYING)
        }
    numbers = {int(n) for pair in members.items() for text in pair for n in _MANGLED.findall(text)}
    rank = {str(number).encode(): rank for rank, number in enumerate(sorted(numbers))}

    def renamed(text: bytes) -> bytes:
        return _MANGLED.sub(lambda found: b"___torch_mangle_%d" % rank[found[1]], text)

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as new:
        for name, content in members.items():
            text = name.endswith((b".py", b"data.pkl"))
            new.writestr(
                zipfile.ZipInfo(renamed(name).decode()), renamed(content) if text else content
            )
    return packed.getvalue()
