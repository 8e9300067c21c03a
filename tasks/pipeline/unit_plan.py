"""The cached units that a stage relies on: protected from pruning, fetched, reported when lost."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from synthct.data.environment import UNITS
from synthct.data.errors import MachineError
from synthct.data.store.result_cache import ResultCache
from synthct.data.store.unit_files import UNIT_DAMAGED
from synthct.tasks.pipeline.events import emit

_TOUCH_EVERY_S = 3600.0
"""Period at which a stage refreshes the age of its units [s]; pruning spares those of a day."""


class Named(Protocol):
    """Interface of a unit: its name."""

    @property
    def name(self) -> str:
        """Name of its folder in the stage's output."""


@dataclass
class UnitPlan:
    """The keys of a stage's units, whose age is refreshed while the stage runs."""

    units: ResultCache
    stage: str
    keys: Mapping[str, str]
    touched_s: float = field(default_factory=time.monotonic)

    def is_cached(self, unit: Named) -> bool:
        """Whether the unit is cached; if so, it is not pruned before the stage has read it."""
        store, key = self.units, self.keys[unit.name]
        if not store.has(key):
            return False
        if store.age_s(key) > _TOUCH_EVERY_S:
            store.touch(key)
        return True

    def refresh_ages(self) -> None:
        """Refresh the age of all units once an hour, for a stage that takes days."""
        if time.monotonic() - self.touched_s > _TOUCH_EVERY_S:
            self.touched_s = time.monotonic()
            for key in self.keys.values():
                self.units.touch(key)


def fetch_all(plan: UnitPlan, units: Sequence[Named], out: Path) -> dict[str, str]:
    """Copy the units into ``out``; return the problem of each missing or damaged one by name."""
    lost: dict[str, str] = {}
    for unit in units:
        try:
            complete = plan.units.fetch(plan.keys[unit.name], out / unit.name)
            problem = "it is no longer in the result cache"
        except MachineError as error:
            if error.code != UNIT_DAMAGED:
                raise
            complete, problem = False, str(error)
        if not complete:
            lost[unit.name] = problem
            emit("note", stage=plan.stage, text=f"{unit.name}: {problem}")
    return lost


def unit_lost(stage: str, lost: Mapping[str, str]) -> MachineError:
    """The error of units that are lost a second time; ``lost`` as :func:`fetch_all` returns it."""
    name, problem = next(iter(lost.items()))
    return MachineError(
        f"{len(lost)} results are damaged or missing a second time: {problem}",
        rule="a result that was just computed can be read back",
        where=f"{stage}/{name}",
        remedy="check the disk and the memory of the result cache (see `dmesg`), or set "
        f"{UNITS} to another place",
        code="unit-lost",
    )
