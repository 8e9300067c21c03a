"""What each regularizer costs: time and memory of a training step, relative to none."""

from __future__ import annotations

import math
import re
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from synthct.tasks.chain.params import load_params
from synthct.tasks.models.contracts import Batch
from synthct.tasks.regularization import REGULARIZERS, catalogue
from synthct.tasks.regularization.base import seams_of
from synthct.tasks.training.loop import Loop
from synthct.tasks.training.params import PlugIn, TrainingParams, WeightedPlugIn
from synthct.tasks.training.plugins import build_composition, build_network

TWO_PASS = {
    "finite_difference_gradient", "surrogate_sharpness", "nested_co_teaching",
    "gradient_norm", "early_learning", "jacobian_nuclear_norm", "calibrated_flips",
    "nested_bits", "quantisation_noise",
    "adele", "evidence_decay", "local_linearity",
}  # fmt: skip
"""Regularizers with a second forward pass; most have a second backward pass too."""

ON_WEIGHTS = {
    "spectral", "wasserstein_to_init", "norm_loss", "group_orthogonality", "hyperspherical_energy",
    "orthogonal_convolution", "orthonormal_filters", "gram_lipschitz", "generalized_gaussian",
    "sparse_weights", "trained_rank",
}  # fmt: skip
CHEAP = {"one pass": 1.3, "two passes": 2.3, "weights": 1.15, "strengths": math.inf}
"""Time of a step above which longer periods are tried, by kind."""

IDENTIFIER = re.compile(r"(arXiv:\d{4}\.\d{4,5}|doi:10\.\d{4,9}/[^\s,;]+[^\s,;.])", re.ASCII)

EVERY = (1, 2, 5, 10, 20, 50)
"""Periods that are tried until a step is cheap."""

ROUNDS = 3


class Peak(TorchDispatchMode):
    """Largest number of bytes of CPU tensors that were made inside and live at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._seen: weakref.WeakSet = weakref.WeakSet()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage())
        return made

    def _count(self, storage) -> None:
        if storage in self._seen:
            return
        self._seen.add(storage)
        size = storage.nbytes()
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._forget, size)

    def _forget(self, size: int) -> None:
        self.bytes -= size


def demo() -> TrainingParams:
    """The recipe of the demo."""
    return load_params(Path("params.yaml")).training


def batches(params: TrainingParams, count: int) -> list[Batch]:
    """Random patches: the arithmetic does not depend on their content."""
    network = build_network(params)
    rng = torch.Generator().manual_seed(0)
    shape = params.mr.patch_size
    made = []
    for _ in range(count):
        source = torch.randn((params.batch, network.slices, *shape), generator=rng)
        target = torch.tanh(torch.randn((params.batch, 1, *shape), generator=rng))
        names = ("a",) * params.batch
        starts = ((0, 0, 0),) * params.batch
        made.append(Batch(source, target, torch.ones_like(target), (4.0, 4.0, 4.0), names, names,
                          starts))  # fmt: skip
    return made


class Arm:
    """A run with one regularizer, stepped by hand."""

    def __init__(self, params: TrainingParams, entries: tuple[WeightedPlugIn, ...]) -> None:
        params = params.model_copy(update={"regularizers": entries, "steps": 10**6})
        torch.manual_seed(0)
        self.batches = batches(params, 4)
        case = SimpleNamespace(body=np.ones(1))
        shape = SimpleNamespace(flat=len(params.mr.patch_size) == 2, size=params.mr.patch_size)
        sampler = SimpleNamespace(
            shape=shape, cases=[case], batch=lambda n: self.batches[n % len(self.batches)]
        )
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.loop = Loop(
            unit="price", params=params, model=build_network(params).build(),
            composition=build_composition(params), sampler=sampler, held_back=sampler,
            validation=None, seed=0, device=device, scratch=Path(), watch=(),
        )  # fmt: skip
        self.number = 0

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.loop._step(self.number, self.batches[self.number % len(self.batches)])
            self.number += 1
        if self.loop.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, count: int) -> float:
        """Seconds of one step; on a CPU those of this process, which other load affects little."""
        clock = time.perf_counter if self.loop.device.type == "cuda" else time.process_time
        started = clock()
        self.steps(count)
        return (clock() - started) / count

    def peak_bytes(self, count: int) -> int:
        """Bytes of what the steps allocate, in addition to weights and optimizer."""
        if self.loop.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            self.steps(count)
            return torch.cuda.max_memory_allocated() - before
        with Peak() as peak:
            self.steps(count)
        return peak.peak


def kind_of(name: str) -> str:
    """The kind of a regularizer, by what it adds to a step."""
    if name == "hoag":
        return "strengths"
    if name in ON_WEIGHTS:
        return "weights"
    return "two passes" if name in TWO_PASS else "one pass"


def entries_of(name: str, **options: object) -> tuple[WeightedPlugIn, ...]:
    """The regularizer as params; HOAG needs another one, whose strength it learns."""
    perturbs = "perturb" in seams_of(REGULARIZERS.get(name))
    entry = WeightedPlugIn(name=name, weight=0.5 if perturbs else 1e-4, **options)
    return (WeightedPlugIn(name="norm_loss", weight=1e-4), entry) if name == "hoag" else (entry,)


def names() -> list[str]:
    """Those that act in training."""
    return [
        name
        for name, cls in REGULARIZERS.items()
        if not set(seams_of(cls)) <= {"displacement", "image"}
    ]


def compared(params: TrainingParams, name: str, **options: object) -> tuple[float, float]:
    """(time, memory) of a step, relative to a step without it, in alternating rounds."""
    every = int(getattr(REGULARIZERS.build(name, options), "every", 1))
    count = max(4, every)
    none, arm = Arm(params, ()), Arm(params, entries_of(name, **options))
    for each in (none, arm):
        each.steps(2)
    seconds = [(none.seconds(4), arm.seconds(count)) for _ in range(ROUNDS)]
    time_ratio = min(s for _, s in seconds) / min(s for s, _ in seconds)
    arm.number = -(-arm.number // every) * every  # a step at which it acts
    return time_ratio, arm.peak_bytes(1) / none.peak_bytes(1)


def rows(params: TrainingParams) -> Iterator[str]:
    """One row per regularizer, at the first period at which a step is cheap."""
    for name in names():
        kind = kind_of(name)
        fields = REGULARIZERS.get(name).__dataclass_fields__
        tried: list[dict[str, object]] = [{}]
        if "every" in fields and kind != "strengths":
            default = fields["every"].default
            tried += [{"every": k} for k in EVERY if k > default]
        first = None
        for options in tried:
            price, memory = compared(params, name, **options)
            first = price if first is None else first
            if price <= CHEAP[kind]:
                break
        at = f"every {options['every']}" if options else "default"
        (entry,) = catalogue(name)
        found = IDENTIFIER.search(entry["references"])
        source = found[0] if found else ""
        print(f"{name}: {first:.2f}, {price:.2f} {at}", flush=True)
        yield (
            f"| `{name}` | {source} | {kind} | {first:.2f} | {at} | {price:.2f} | {memory:.2f} |"
        )


def measure() -> str:
    """The table."""
    torch.set_num_threads(1)
    params = demo()
    gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if gpu else "one CPU thread"
    network = PlugIn.model_validate(params.network.model_dump()).model_dump()
    head = (
        f"Steps of the demo's network {network}, batch {params.batch}, patches "
        f"{list(params.mr.patch_size)}, {params.precision}, on {device}. Time and memory are "
        "relative to a step without regularizers. Time is the minimum of "
        f"{ROUNDS} rounds that alternate with such steps. Memory is the peak of what a step "
        "allocates when the regularizer acts. A regularizer whose defaults cost more than "
        f"{CHEAP['one pass']:g} (one pass), {CHEAP['two passes']:g} (two passes) or "
        f"{CHEAP['weights']:g} (on weights) is measured again at longer periods `every`, at which "
        "it acts less often and more strongly; its time is the mean over a period."
        + ("" if gpu else " GPUs and networks of full width were not measured.")
        + "\n\n"
        "| regularizer | source | kind | time, defaults | setting | time | memory |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(rows(params))
