"""The units that a stage counts on: kept young in the store, fetched, told when they are lost."""

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
"""Units that a stage counts on are made young so often [s]; pruning spares those of a day."""


class Named(Protocol):
    """A unit, as far as this file needs to know."""

    @property
    def name(self) -> str:
        """Of its folder in the stage's out."""


@dataclass
class UnitPlan:
    """The keys of a stage's units, kept young in the store while the stage is at work."""

    units: ResultCache
    stage: str
    keys: Mapping[str, str]
    touched_s: float = field(default_factory=time.monotonic)

    def counted_on(self, unit: Named) -> bool:
        """Whether the unit is there; if so, nobody prunes it before the stage has read it."""
        store, key = self.units, self.keys[unit.name]
        if not store.has(key):
            return False
        if store.age_s(key) > _TOUCH_EVERY_S:
            store.touch(key)
        return True

    def keep_young(self) -> None:
        """Now and then in a stage of days."""
        if time.monotonic() - self.touched_s > _TOUCH_EVERY_S:
            self.touched_s = time.monotonic()
            for key in self.keys.values():
                self.units.touch(key)


def fetch_all(plan: UnitPlan, units: Sequence[Named], out: Path) -> dict[str, str]:
    """Copy the units into ``out``; what is wrong with those that are lost, by name."""
    lost: dict[str, str] = {}
    for unit in units:
        try:
            whole = plan.units.fetch(plan.keys[unit.name], out / unit.name)
            told = "it is no longer in the result cache"
        except MachineError as fault:
            if fault.code != UNIT_DAMAGED:
                raise
            whole, told = False, str(fault)
        if not whole:
            lost[unit.name] = told
            emit("note", stage=plan.stage, text=f"{unit.name}: {told}")
    return lost


def unit_lost(stage: str, lost: Mapping[str, str]) -> MachineError:
    """The fault of units that are lost a second time; ``lost`` as :func:`fetch_all` gives it."""
    name, told = next(iter(lost.items()))
    return MachineError(
        "a unit that was just computed can be read back",
        problem=f"{len(lost)} units are damaged or gone a second time: {told}",
        where=f"{stage}/{name}",
        remedy="the disk or the memory of the result cache is not to be trusted: see `dmesg`, or "
        f"set {UNITS} to another place",
        code="unit-lost",
    )
