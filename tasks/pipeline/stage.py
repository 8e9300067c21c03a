"""What every stage is given, and how a stage turns cases into one out, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from synthct.data.errors import MachineError, SynthctError, TooManyExcludedError
from synthct.data.files import canonical_json, content_hash, whole_folder, write_whole
from synthct.data.layout import Layout
from synthct.data.os_errors import is_disk_full, machine_fault
from synthct.data.section import Section
from synthct.data.store.offload import move_arrays
from synthct.data.store.receipts import arrays_url
from synthct.data.store.result_cache import ResultCache
from synthct.tasks.pipeline.adoption import adopt
from synthct.tasks.pipeline.artefacts import EXCLUDED, UNIT_KEYS
from synthct.tasks.pipeline.code import code_hash
from synthct.tasks.pipeline.events import emit
from synthct.tasks.pipeline.execution import FAULT, Order, execute
from synthct.tasks.pipeline.fanout import Fanout
from synthct.tasks.pipeline.packages import unit_versions
from synthct.tasks.pipeline.unit_plan import UnitPlan, fetch_all, unit_lost

S = TypeVar("S", bound=Section)

"""In every out: list of {"unit", "code", "where", "rule", "got", "remedy"}."""

__all__ = [
    "EXCLUDED",
    "UNIT_KEYS",
    "Order",
    "StageContext",
    "Unit",
    "build_out",
    "execute",
    "run_units",
]


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

    def __post_init__(self) -> None:
        if both := self.inputs.keys() & self.arguments.keys():
            raise ValueError(f"{self.name}: {', '.join(sorted(both))} is an input and an argument")

    @property
    def modules(self) -> tuple[str, ...]:
        """Its own module and those of its plug-ins: their code is in the key."""
        return (self.function.__module__, *self.plugins)

    def key(self, threads: int) -> str:
        """SHA-256 of all that the result depends on: inputs, arguments, code, packages, threads."""
        identity = {
            "function": f"{self.function.__module__}:{self.function.__qualname__}",
            "name": self.name,
            "inputs": {name: content_hash(path) for name, path in self.inputs.items()},
            "arguments": dict(self.arguments),
            "code": code_hash(self.modules),
            "packages": unit_versions(self.modules),
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
    the stage found itself). Units that turn out to be damaged are computed again, all at once.
    Errors of the machine stop the stage after the others have finished.
    """
    adopt(context.units, context.artefact(stage), stage)
    plan = UnitPlan(context.units, stage, {u.name: u.key(context.threads_per_unit) for u in units})
    missing = [unit for unit in units if not plan.counted_on(unit)]
    emit("units_planned", stage=stage, total=len(units), reused=len(units) - len(missing))
    _compute(context, plan, missing)
    if lost := fetch_all(plan, units, out):
        _compute(context, plan, [unit for unit in units if unit.name in lost])
        if again := fetch_all(plan, [unit for unit in units if unit.name in lost], out):
            raise unit_lost(stage, again)
    excluded: list[Mapping[str, Any]] = list(also_excluded)
    recorded: dict[str, dict[str, str]] = {}
    good: list[str] = []
    for unit in units:
        folder = out / unit.name
        if (folder / FAULT).exists():
            excluded.append({"unit": unit.name, **json.loads((folder / FAULT).read_text())})
            shutil.rmtree(folder)
        else:
            recorded[unit.name] = {"key": plan.keys[unit.name], "content": content_hash(folder)}
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


def _compute(context: StageContext, plan: UnitPlan, missing: Sequence[Unit]) -> None:
    if not missing:
        return
    token = secrets.token_hex(16)
    store, stage, total = plan.units, plan.stage, len(plan.keys)
    store.leave_token(token)
    try:
        orders = [_order(context, plan, unit, token) for unit in missing]
        started, done, errors, cpus = time.monotonic(), total - len(missing), [], {""}
        for order, outcome in context.fan_out(execute, orders, label=_label):
            done += 1
            plan.keep_young()
            if outcome.error is not None:
                errors.append((order.unit, outcome.error))
                emit("unit_failed", stage=stage, unit=order.unit, error=str(outcome.error))
                continue
            mean_s = (time.monotonic() - started) / (done - (total - len(missing)))
            receipt = dict(outcome.result())
            cpus.add(receipt.pop("cpu"))
            emit(
                "unit_done", stage=stage, unit=order.unit, done=done, total=total,
                eta_s=round(mean_s * (total - done), 1), **receipt,
            )  # fmt: skip
    finally:
        store.drop_token(token)
    if len(cpus) > 2:  # "": a unit that was found finished
        text = "CPUs with other features computed units of this stage: last digits may differ; "
        emit("note", stage=stage, text=text + " | ".join(sorted(cpus - {""})))
    if errors:
        raise _failed(stage, total, errors)


def _failed(stage: str, total: int, errors: Sequence[tuple[str, Exception]]) -> Exception:
    name, error = errors[0]
    if isinstance(error, SynthctError):
        return error
    if is_disk_full(error):
        return machine_fault(error, where=f"{stage}/{name}")
    fault = MachineError(
        "",
        problem=f"{len(errors)} of {total} units failed; the first: "
        f"{type(error).__name__}: {error}",
        where=f"{stage}/{name}",
        remedy="finished units are kept; run the same command again",
        code="unit-failed",
    )
    fault.__cause__ = error
    return fault


def _label(order: Order) -> str:
    return f"{order.stage}/{order.unit}"


def _order(context: StageContext, plan: UnitPlan, unit: Unit, token: str) -> Order:
    return Order(
        unit=unit.name,
        stage=plan.stage,
        key=plan.keys[unit.name],
        token=token,
        function=f"{unit.function.__module__}:{unit.function.__qualname__}",
        inputs={name: str(path.absolute()) for name, path in unit.inputs.items()},
        arguments=dict(unit.arguments),
        threads=context.threads_per_unit,
        units=context.units,
        modules=unit.modules,
        code=code_hash(unit.modules),
        packages=unit_versions(unit.modules),
        gpu=unit.gpu,
        arrays=arrays_url(),
    )
