"""bfloat16 where the processor or the GPU computes in it, float32 where it would be emulated.

``auto`` is resolved once, by the process that plans a stage, and units get the result.
docs/decisions/0012-precision.md describes the consequences for keys and workers.
"""

from __future__ import annotations

import os
from typing import Literal

import torch

from synthct.data.errors import MachineError
from synthct.tasks.pipeline.machine import EMULATED, bfloat16_features
from synthct.tasks.training.params import TrainingParams

Precision = Literal["float32", "bfloat16"]


def settled(params: TrainingParams) -> TrainingParams:
    """The params with ``auto`` replaced by the best precision of this machine."""
    if params.precision != "auto":
        return params
    return params.model_copy(update={"precision": _best(params.device)[0]})


def precision_note(params: TrainingParams) -> str:
    """One sentence for the log of a run: its precision on this machine, and why."""
    best, why = _best(params.device)
    if params.precision == "auto":
        return f"precision {best}: auto, {why}"
    if params.precision == "bfloat16" and best != "bfloat16":
        return (
            f"precision bfloat16, as set in the params; but {why}: it takes {EMULATED}; "
            "training.precision: auto chooses by the processor"
        )
    return f"precision {params.precision}, as set in the params"


def _best(device: str) -> tuple[Precision, str]:
    if device != "cpu" and torch.cuda.is_available():
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bfloat16", "the GPU computes in bfloat16"
        return "float32", "the GPU has no bfloat16"
    found = bfloat16_features()
    if found:
        return "bfloat16", f"the processor has {', '.join(found)}"
    return "float32", "the processor has no bfloat16 (avx512_bf16, amx_bf16)"


def precision_of(params: TrainingParams) -> Precision:
    """The precision of the params, ``auto`` resolved."""
    return "bfloat16" if settled(params).precision == "bfloat16" else "float32"


def chosen_device(wanted: str, where: str) -> torch.device:
    """The device of the params; ``where`` is their key.

    Raises
    ------
    MachineError
        ``no-cuda``.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise MachineError(
            "this machine has no CUDA device",
            rule="device cuda needs a CUDA device",
            where=f"params.yaml: {where}",
            remedy="set device: auto or cpu",
            code="no-cuda",
        )
    # Deterministic kernels; cuBLAS reads its setting on first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.device("cuda")
