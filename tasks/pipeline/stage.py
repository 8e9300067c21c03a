"""The context of a stage, and how a stage computes its units and writes its output atomically."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from synthct.data.errors import MachineError, SynthctError, TooManyExcludedError
from synthct.data.files import canonical_json, content_hash, whole_folder, write_whole
from synthct.data.layout import Layout
from synthct.data.os_errors import is_disk_full, machine_error
from synthct.data.section import Section
from synthct.data.store.offload import move_arrays
from synthct.data.store.receipts import arrays_url
from synthct.data.store.result_cache import ResultCache
from synthct.tasks.pipeline.adoption import adopt
from synthct.tasks.pipeline.artefacts import EXCLUDED, UNIT_KEYS
from synthct.tasks.pipeline.code import code_hash
from synthct.tasks.pipeline.events import emit
from synthct.tasks.pipeline.execution import ERROR, UnitTask, execute
from synthct.tasks.pipeline.fanout import Fanout
from synthct.tasks.pipeline.packages import unit_versions
from synthct.tasks.pipeline.unit_plan import UnitPlan, fetch_all, unit_lost

S = TypeVar("S", bound=Section)


__all__ = [
    "EXCLUDED",
    "UNIT_KEYS",
    "StageContext",
    "Unit",
    "UnitTask",
    "build_out",
    "execute",
    "run_units",
]


@dataclass(frozen=True)
class Unit:
    """One cached computation of a stage: a case, a fold or a grid point.

    Parameters
    ----------
    name
        Name of its folder in the stage's output, e.g. ``thorax-02_mr``.
    function
        Module-level ``function(*, out, **inputs, **arguments) -> None``, which writes files into
        the folder ``out`` and raises :class:`DataError` for unusable data. With a parameter
        ``scratch`` it gets a folder for checkpoints, which survives a kill and is deleted when the
        unit is done.
    inputs
        Files or folders it reads, by parameter name; their content is part of the key.
    arguments
        Plain JSON values, by parameter name; they are part of the key.
    plugins
        Dotted modules of the plug-ins that the arguments name; their code is part of the key.
    gpu
        Whether it occupies a GPU on a cluster that has some; never part of the key.
    effort
        What its time is proportional to, in any one measure, for the estimate of the time left;
        None: the square root of the size of its inputs. Never part of the key.
    """

    name: str
    function: Callable[..., None]
    inputs: Mapping[str, Path] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    gpu: bool = False
    effort: float | None = None

    def __post_init__(self) -> None:
        if both := self.inputs.keys() & self.arguments.keys():
            raise ValueError(f"{self.name}: {', '.join(sorted(both))} is an input and an argument")

    @property
    def modules(self) -> tuple[str, ...]:
        """Module of the function and those of the plug-ins, whose code is part of the key."""
        return (self.function.__module__, *self.plugins)

    @property
    def work(self) -> float:
        """Its effort. By default time grows more slowly than the size of the inputs."""
        if self.effort is not None:
            return self.effort
        files = (file for path in self.inputs.values() for file in (path, *path.rglob("*")))
        return round(math.sqrt(sum(file.stat().st_size for file in files if file.is_file())), 1)

    def key(self, threads: int) -> str:
        """SHA-256 of name, function, inputs, arguments, code, package versions and threads."""
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
    """The environment of a stage: everything that it gets besides its params section.

    Parameters
    ----------
    layout
        Paths of the workspace.
    seed
        Seed of all random streams.
    units
        The result cache.
    fan_out
        Runs the units, in this process or on a cluster.
    threads_per_unit
        Threads of torch, ITK and BLAS in one unit.
    max_excluded_fraction
        Largest fraction of excluded cases with which the stage succeeds.
    sections
        The sections of ``params.yaml`` by name, for a stage that lists others in ``also_params``
        or registers pairs again.
    methods
        One sentence on each stage up to this one, by stage, in the order of the chain.
    """

    layout: Layout
    seed: int
    units: ResultCache
    fan_out: Fanout
    threads_per_unit: int = 1
    max_excluded_fraction: float = 0.5
    sections: Mapping[str, Section] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)

    def section(self, name: str, kind: type[S]) -> S:
        """Another section of ``params.yaml``, e.g. ``section("training", TrainingParams)``."""
        found = self.sections[name]
        if not isinstance(found, kind):
            raise TypeError(f"section {name!r} is a {type(found).__name__}, not a {kind.__name__}")
        return found

    def artefact(self, stage: str) -> Path:
        """The output folder of a stage."""
        return self.layout.artefact(stage)


@contextlib.contextmanager
def build_out(context: StageContext, stage: str) -> Iterator[Path]:
    """Yield a temporary folder that replaces the stage's output when the block succeeds."""
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
    """Compute the units that are not cached, and copy all into ``out/<unit name>``.

    Excluded units are listed in ``out/excluded.json`` together with ``also_excluded`` (rows that
    the stage found itself). Units that prove damaged in the cache are computed again. A machine
    error stops the stage after the other units have finished.

    Returns
    -------
    list
        Names of the units that were not excluded.

    Raises
    ------
    MachineError
        A unit failed, or cannot be read back from the result cache.
    TooManyExcludedError
        More units than ``max_excluded_fraction`` were excluded.
    """
    adopt(context.units, context.artefact(stage), stage)
    plan = UnitPlan(context.units, stage, {u.name: u.key(context.threads_per_unit) for u in units})
    missing = [unit for unit in units if not plan.is_cached(unit)]
    emit(
        "units_planned", stage=stage, total=len(units), reused=len(units) - len(missing),
        efforts={unit.name: unit.work for unit in missing},
    )  # fmt: skip
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
        if (folder / ERROR).exists():
            excluded.append({"unit": unit.name, **json.loads((folder / ERROR).read_text())})
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
        reported = [
            f"{row.get('unit', '?')}: {row.get('problem') or row.get('rule', '')}"
            for row in excluded[:MAX_REPORTED]
        ]
        more = len(excluded) - len(reported)
        hopeless = len(excluded) == total  # a larger fraction would leave nothing either
        raise TooManyExcludedError(
            f"{len(excluded)} of {total} cases were excluded ({'; '.join(reported)}"
            f"{f'; and {more} more' if more else ''})",
            rule=f"at most {context.max_excluded_fraction:.0%} of the cases may be excluded",
            where=stage,
            remedy=(hopeless and excluded[0].get("remedy"))
            or "repair these scans or raise max_excluded_fraction",
            code="too-many-excluded",
        )


MAX_REPORTED = 5
"""Excluded cases that the error names."""


def _compute(context: StageContext, plan: UnitPlan, missing: Sequence[Unit]) -> None:
    if not missing:
        return
    token = secrets.token_hex(16)
    store, stage, total = plan.units, plan.stage, len(plan.keys)
    store.leave_token(token)
    try:
        tasks = [_task(context, plan, unit, token) for unit in missing]
        done, errors, cpus = total - len(missing), [], {""}
        for task, outcome in context.fan_out(execute, tasks, label=_label):
            done += 1
            plan.refresh_ages()
            if outcome.error is not None:
                errors.append((task.unit, outcome.error))
                emit("unit_failed", stage=stage, unit=task.unit, error=str(outcome.error))
                continue
            receipt = dict(outcome.result())
            cpus.add(receipt.pop("cpu"))
            emit("unit_done", stage=stage, unit=task.unit, done=done, total=total, **receipt)
    finally:
        store.drop_token(token)
    if len(cpus) > 2:  # "" is a unit that was finished already
        text = "CPUs with different features computed units of this stage: last digits may differ; "
        emit("note", stage=stage, text=text + " | ".join(sorted(cpus - {""})))
    if errors:
        raise _failed(stage, total, errors)


def _failed(stage: str, total: int, errors: Sequence[tuple[str, Exception]]) -> Exception:
    name, error = errors[0]
    if isinstance(error, SynthctError):
        return error
    if is_disk_full(error):
        return machine_error(error, where=f"{stage}/{name}")
    failure = MachineError(
        f"{len(errors)} of {total} results failed; the first: {type(error).__name__}: {error}",
        where=f"{stage}/{name}",
        remedy="finished results are kept; run the same command again",
        code="unit-failed",
    )
    failure.__cause__ = error
    return failure


def _label(task: UnitTask) -> str:
    return f"{task.stage}/{task.unit}"


def _task(context: StageContext, plan: UnitPlan, unit: Unit, token: str) -> UnitTask:
    return UnitTask(
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
