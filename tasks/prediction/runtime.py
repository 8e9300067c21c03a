"""Networks of a release in ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from synthct.data.errors import UsageError
from synthct.tasks.models.sliding import Runner

DEVICES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""ONNX Runtime's provider of each device."""


def onnx_runner(graph: bytes, *, threads: int = 1, device: str = "cpu") -> Runner:
    """A network from the bytes of its ONNX file.

    On a CPU each thread runs different windows, with one thread per operator. No thread waits
    inside a network, and the output does not depend on the number of threads.

    Parameters
    ----------
    threads
        Windows that are computed in parallel; 0: one per core.
    device
        ``cpu`` or ``cuda`` (needs the ``onnxruntime-gpu`` wheel in place of ``onnxruntime``).
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Otherwise a memory plan is kept for each window size, which wastes memory.
    options.enable_mem_pattern = False
    session = onnxruntime.InferenceSession(graph, options, providers=[provider_of(device)])
    name = session.get_inputs()[0].name
    workers = 1 if device != "cpu" else threads or len(os.sched_getaffinity(0))
    pool = ThreadPoolExecutor(workers) if workers > 1 else None

    def alone(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {name: inputs})[0])

    def run(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        if pool is None or len(inputs) == 1:
            return alone(inputs)
        return np.concatenate(
            list(pool.map(alone, np.array_split(inputs, min(workers, len(inputs)))))
        )

    return run


def onnx_runners(
    graphs: Iterable[bytes], *, threads: int = 1, device: str = "cpu"
) -> tuple[Runner, ...]:
    """Runners of an ensemble."""
    return tuple(onnx_runner(graph, threads=threads, device=device) for graph in graphs)


def provider_of(device: str) -> str:
    """ONNX Runtime's provider for a device; raises if this installation lacks it."""
    provider = DEVICES.get(device, "")
    if provider not in onnxruntime.get_available_providers():
        have = [name for name, p in DEVICES.items() if p in onnxruntime.get_available_providers()]
        raise UsageError(
            f"the installed ONNX Runtime has no {device!r}, only {', '.join(have)}",
            remedy="for a GPU replace onnxruntime by onnxruntime-gpu of the same version",
            code="device-unknown",
        )
    return provider
