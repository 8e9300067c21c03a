"""What every stage is given, and how a stage turns cases into one out, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from synthct.data.errors import DataError, MachineError, SynthctError, TooManyExcludedError
from synthct.data.files import canonical_json, content_hash, whole_folder, write_whole
from synthct.data.layout import Layout, default_root
from synthct.data.section import Section
from synthct.data.store.offload import move_arrays
from synthct.data.store.receipts import VARIABLE, arrays_url
from synthct.data.store.result_cache import ResultCache
from synthct.tasks.pipeline.code import code_hash, require_code
from synthct.tasks.pipeline.events import emit
from synthct.tasks.pipeline.fanout import Fanout
from synthct.tasks.pipeline.threads import apply_limits, limit_threads

S = TypeVar("S", bound=Section)

UNIT_KEYS = "units.json"
"""In every out: {unit name: {"key": ..., "content": ...}}, so a pulled out can be adopted back."""

EXCLUDED = "excluded.json"
"""In every out: list of {"unit", "code", "where", "rule", "got", "remedy"}."""

_FAULT = "error.json"


@dataclass(frozen=True)
class Unit:
    """One case, fold or grid point of a stage.

    Parameters
    ----------
    name
        Its folder in the stage's out, e.g. ``thorax-02_mr``.
    function
        Module-level ``function(*, out, **inputs, **arguments) -> None``; writes files into the
        folder ``out``, raises :class:`DataError` when the data are unfit. It may ask for
        ``scratch``, a folder that survives a kill (checkpoints) and goes when the unit is done.
    inputs
        Files or folders it reads, by parameter name; their content enters the key.
    arguments
        Plain JSON values, by parameter name; they enter the key.
    plugins
        Dotted modules of the plug-ins that the arguments name; their code enters the key.
    gpu
        Whether it wants a GPU of its own where the cluster has some; never part of the key.
    """

    name: str
    function: Callable[..., None]
    inputs: Mapping[str, Path] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    gpu: bool = False

    @property
    def modules(self) -> tuple[str, ...]:
        """Its own module and those of its plug-ins: their code is in the key."""
        return (self.function.__module__, *self.plugins)

    def key(self, threads: int) -> str:
        """SHA-256 of everything the result depends on: inputs, arguments, code, threads."""
        identity = {
            "function": f"{self.function.__module__}:{self.function.__qualname__}",
            "name": self.name,
            "inputs": {name: content_hash(path) for name, path in self.inputs.items()},
            "arguments": dict(self.arguments),
            "code": code_hash(self.modules),
            "threads": threads,
        }
        return hashlib.sha256(canonical_json(identity).encode()).hexdigest()


@dataclass(frozen=True)
class StageContext:
    """What a stage is given besides its params section."""

    layout: Layout
    seed: int
    units: ResultCache
    fan_out: Fanout
    threads_per_unit: int = 1
    max_excluded_fraction: float = 0.5
    sections: Mapping[str, Section] = field(default_factory=dict)
    """The other sections of ``params.yaml`` by name, for a stage that lists them in
    ``also_params`` or registers pairs anew."""
    methods: Mapping[str, str] = field(default_factory=dict)
    """What each stage up to this one does, as one sentence, by stage in the chain's order."""

    def section(self, name: str, kind: type[S]) -> S:
        """Another section of ``params.yaml``, e.g. ``section("training", TrainingParams)``."""
        found = self.sections[name]
        if not isinstance(found, kind):
            raise TypeError(f"section {name!r} is a {type(found).__name__}, not a {kind.__name__}")
        return found

    def artefact(self, stage: str) -> Path:
        """The folder that a stage writes (or, for an earlier stage, wrote)."""
        return self.layout.artefact(stage)


@dataclass(frozen=True)
class Order:
    """A unit on its way to a worker: plain data only."""

    unit: str
    stage: str
    key: str
    function: str
    inputs: Mapping[str, str]
    arguments: Mapping[str, Any]
    threads: int
    units: ResultCache
    modules: tuple[str, ...]
    code: str
    """Hash of the code of ``modules`` that the key stands for."""
    gpu: bool = False
    arrays: str = ""
    """Prefix that takes the voxels of its arrays; "": they stay in the unit."""


@contextlib.contextmanager
def build_out(context: StageContext, stage: str) -> Iterator[Path]:
    """Build the stage's out beside its place; it appears whole when the block succeeds."""
    emit("stage_started", stage=stage)
    arrays = arrays_url()
    with whole_folder(context.artefact(stage)) as out:
        yield out
        for name, empty in ((EXCLUDED, []), (UNIT_KEYS, {})):
            if not (out / name).exists():
                write_whole(out / name, canonical_json(empty))
        if arrays:
            move_arrays(out, arrays)
    emit("stage_done", stage=stage)


def run_units(
    context: StageContext,
    stage: str,
    out: Path,
    units: Sequence[Unit],
    *,
    also_excluded: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """Run what is not in the result cache yet, copy all into ``out/<unit name>``; the good names.

    Excluded units are listed in ``out/excluded.json`` together with ``also_excluded`` (rows that
    the stage found itself). Errors of the machine stop the stage after the others have finished.
    """
    adopt(context, stage)
    keys = {unit.name: unit.key(context.threads_per_unit) for unit in units}
    missing = [unit for unit in units if not context.units.has(keys[unit.name])]
    emit("units_planned", stage=stage, total=len(units), reused=len(units) - len(missing))
    _compute(context, stage, missing, keys, total=len(units))
    excluded: list[Mapping[str, Any]] = list(also_excluded)
    recorded: dict[str, dict[str, str]] = {}
    good: list[str] = []
    for unit in units:
        folder = out / unit.name
        if not context.units.fetch(keys[unit.name], folder):
            raise MachineError(
                "",
                problem=f"a finished unit cannot be read back: {keys[unit.name][:12]} is "
                "missing or damaged in the result cache",
                where=f"{stage}/{unit.name}",
                remedy="run the same command again",
                code="unit-lost",
            )
        recorded[unit.name] = {"key": keys[unit.name], "content": content_hash(folder)}
        if (folder / _FAULT).exists():
            excluded.append({"unit": unit.name, **json.loads((folder / _FAULT).read_text())})
            shutil.rmtree(folder)
            del recorded[unit.name]
        else:
            good.append(unit.name)
    write_whole(out / UNIT_KEYS, canonical_json(recorded))
    write_whole(out / EXCLUDED, canonical_json(excluded))
    _check_excluded(context, stage, len(units) + len(also_excluded), excluded)
    return good


def _check_excluded(
    context: StageContext, stage: str, total: int, excluded: Sequence[Mapping[str, Any]]
) -> None:
    for row in excluded:
        emit("excluded", stage=stage, **row)
    if total and len(excluded) > context.max_excluded_fraction * total:
        first = excluded[0]
        raise TooManyExcludedError(
            f"at most {context.max_excluded_fraction:.0%} of the cases may be excluded",
            problem=f"{len(excluded)} of {total} cases were excluded; the first, "
            f"{first.get('unit', '?')}: {first.get('problem') or first.get('rule', '')}",
            where=stage,
            remedy="mend the scans listed above or raise max_excluded_fraction",
            code="too-many-excluded",
        )


def _compute(
    context: StageContext,
    stage: str,
    missing: Sequence[Unit],
    keys: Mapping[str, str],
    *,
    total: int,
) -> None:
    orders = [_order(context, stage, unit, keys[unit.name]) for unit in missing]
    started, done, errors = time.monotonic(), total - len(missing), []
    for order, outcome in context.fan_out(execute, orders, label=_label):
        done += 1
        left = total - done
        finished = done - (total - len(missing))
        eta_s = (time.monotonic() - started) / finished * left
        if outcome.error is not None:
            errors.append((order.unit, outcome.error))
            emit("unit_failed", stage=stage, unit=order.unit, error=str(outcome.error))
            continue
        receipt = outcome.result()
        emit(
            "unit_done", stage=stage, unit=order.unit, done=done, total=total,
            eta_s=round(eta_s, 1), **receipt,
        )  # fmt: skip
    if errors:
        name, error = errors[0]
        if isinstance(error, SynthctError):
            raise error
        raise MachineError(
            "",
            problem=f"{len(errors)} of {total} units failed; the first: "
            f"{type(error).__name__}: {error}",
            where=f"{stage}/{name}",
            remedy="finished units are kept; run the same command again",
            code="unit-failed",
        ) from error


def _label(order: Order) -> str:
    return f"{order.stage}/{order.unit}"


def _order(context: StageContext, stage: str, unit: Unit, key: str) -> Order:
    return Order(
        unit=unit.name,
        stage=stage,
        key=key,
        function=f"{unit.function.__module__}:{unit.function.__qualname__}",
        inputs={name: str(path.absolute()) for name, path in unit.inputs.items()},
        arguments=dict(unit.arguments),
        threads=context.threads_per_unit,
        units=context.units,
        modules=unit.modules,
        code=code_hash(unit.modules),
        gpu=unit.gpu,
        arrays=arrays_url(),
    )


def execute(order: Order) -> dict[str, Any]:
    """Run one unit (on whatever machine this is) and publish it; a small receipt goes back."""
    started = time.monotonic()
    if order.units.has(order.key):  # finished, but its worker died before it could say so
        return {"seconds": 0.0, "reused": True, "excluded": False}
    require_code(order.modules, order.code)
    module, name = order.function.split(":")
    function = getattr(importlib.import_module(module), name)
    if order.arrays:
        os.environ[VARIABLE] = order.arrays  # a worker elsewhere reads from where we read
    scratch = default_root() / "scratch" / order.key
    extra: dict[str, Any] = {}
    if "scratch" in inspect.signature(function).parameters:
        scratch.mkdir(parents=True, exist_ok=True)
        extra["scratch"] = scratch
    inputs = {name: Path(path) for name, path in order.inputs.items()}
    excluded = False
    with tempfile.TemporaryDirectory(prefix="synthct-unit-") as temporary:
        out = Path(temporary) / "out"
        out.mkdir()
        with limit_threads(order.threads):
            apply_limits(order.threads)
            try:
                function(out=out, **inputs, **order.arguments, **extra)
            except DataError as fault:
                excluded = True
                shutil.rmtree(out)
                out.mkdir()
                write_whole(out / _FAULT, canonical_json(fault.as_json()))
        if order.arrays:
            move_arrays(out, order.arrays)
        order.units.publish(order.key, out)
    if not excluded:  # what an excluded unit left behind (a checkpoint) helps to find out why
        shutil.rmtree(scratch, ignore_errors=True)
    return {
        "seconds": round(time.monotonic() - started, 2),
        "reused": False,
        "excluded": excluded,
    }


def adopt(context: StageContext, stage: str) -> int:
    """Put the units of the stage's present out back into the store; how many were missing there.

    After a clone and ``dvc pull`` the store is empty but the out is there: adding one patient
    must then cost one patient. A unit whose content no longer has its recorded hash is left out.
    """
    out = context.artefact(stage)
    try:
        recorded = json.loads((out / UNIT_KEYS).read_text())
    except (FileNotFoundError, ValueError):
        return 0
    adopted = 0
    for name, entry in recorded.items():
        folder = out / name
        if context.units.has(entry["key"]) or not folder.is_dir():
            continue
        if content_hash(folder) == entry["content"]:
            context.units.publish(entry["key"], folder)
            adopted += 1
    return adopted
