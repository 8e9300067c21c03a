"""The time left that a stage says, against simulated stages whose end is known. No clock runs."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
import pytest

from synthct.tasks.pipeline.estimate import TimeLeft
from synthct.tasks.pipeline.progress import Event, StageProgress

START_S = 1000.0


@dataclass(frozen=True)
class Stage:
    """A simulated stage: how many units on how many workers, and how they differ.

    ``size_spread`` is of the sizes, which are known beforehand; ``noise`` of what is not known.
    Seconds follow ``effort``; the first unit of each worker takes ``import_s`` more, which it
    tells, and ``cold_s``, which it does not. With ``steps`` a unit tells how far it is.
    """

    units: int
    workers: int
    size_spread: float = 0.4
    noise: float = 0.15
    import_s: float = 4.0
    cold_s: float = 3.0
    steps: int = 0
    order: str = "any"

    def events(self, seed: int) -> list[Event]:
        """All events of the stage, each with its time."""
        rng = np.random.default_rng(seed)
        effort = rng.lognormal(0, self.size_spread, self.units)
        if self.order == "longest last":
            effort = np.sort(effort)
        seconds = 20 * effort * rng.lognormal(0, self.noise, self.units)
        names = [f"P-{number:02d}" for number in range(self.units)]
        told: list[Event] = [
            {
                "kind": "units_planned", "total": self.units, "reused": 0, "time_s": START_S,
                "efforts": dict(zip(names, effort, strict=True)),
            },
            {"kind": "workers", "count": self.workers, "time_s": START_S + 1},
        ]  # fmt: skip
        free = [(START_S + 1, number) for number in range(self.workers)]
        warm: set[int] = set()
        for name, own_s in zip(names, seconds, strict=True):
            begun_s, worker = heapq.heappop(free)
            more_s = 0.0 if worker in warm else self.import_s + self.cold_s
            import_s = 0.0 if worker in warm else self.import_s
            warm.add(worker)
            for step in range(1, self.steps):
                at_s = begun_s + more_s + own_s * step / self.steps
                told.append(
                    {
                        "kind": "step",
                        "unit": name,
                        "step": step,
                        "total": self.steps,
                        "time_s": at_s,
                    }
                )
            ends_s = begun_s + more_s + own_s
            heapq.heappush(free, (ends_s, worker))
            done = {"kind": "unit_done", "unit": name, "seconds": more_s + own_s}
            told.append({**done, "import_s": import_s, "time_s": ends_s})
        return sorted(told, key=lambda event: event["time_s"])

    def errors(self, seed: int) -> list[float]:
        """(said - true) / whole time at each event once a quarter of the units is done.

        At least one unit a worker. Relative to the whole time: of the last second no share can be
        foretold.
        """
        events, progress, found = self.events(seed), StageProgress(), []
        whole_s = events[-1]["time_s"] - START_S
        first = max(self.workers, 2, -(-self.units // 4))
        for event in events[:-1]:
            progress.take(event)
            if progress.done >= first:
                left_s = progress.left_at(event["time_s"])
                assert left_s is not None
                found.append((left_s - (events[-1]["time_s"] - event["time_s"])) / whole_s)
        return found


STAGES = {
    "four patients, two workers": Stage(4, 2),
    "24 patients, one worker": Stage(24, 1),
    "24 patients, two workers": Stage(24, 2),
    "24 patients, eight workers": Stage(24, 8),
    "the longest last": Stage(24, 2, order="longest last"),
    "sizes say nothing": Stage(24, 2, size_spread=0.0, noise=0.3),
    "networks that tell their steps": Stage(5, 2, size_spread=0.0, steps=40),
    "networks of unlike length": Stage(6, 2, size_spread=0.8, noise=0.05, steps=40),
}


@pytest.mark.parametrize("name", STAGES)
def test_the_time_left_is_off_by_more_than_a_quarter(name):
    worst = [max(map(abs, errors)) for seed in range(40) if (errors := STAGES[name].errors(seed))]
    assert worst
    assert np.median(worst) < 0.15
    assert np.quantile(worst, 0.9) < 0.25


def test_the_first_units_of_cold_workers_make_the_rest_look_long():
    """Two of four units took 20 s, of which 12 s of imports: 8 s are left, and not 20."""
    progress = StageProgress()
    progress.take({"kind": "units_planned", "total": 4, "reused": 0, "time_s": 100.0})
    progress.take({"kind": "workers", "count": 2, "time_s": 100.0})
    for unit in ("a", "b"):
        done = {"kind": "unit_done", "unit": unit, "seconds": 20.0, "import_s": 12.0}
        progress.take(done | {"time_s": 120.0})
    assert progress.left_at(120.0) == pytest.approx(8.0)
    assert progress.left_at(124.0) == pytest.approx(4.0)
    assert progress.left_at(140.0) > 0  # it is late, and never said to be over


def test_a_last_unit_that_nobody_shares_counts_whole():
    """Three equal units of 10 s on two workers: after the first two a whole one is left."""
    progress = StageProgress()
    progress.take({"kind": "units_planned", "total": 3, "reused": 0, "time_s": 100.0})
    progress.take({"kind": "workers", "count": 2, "time_s": 100.0})
    for unit in ("a", "b"):
        progress.take({"kind": "unit_done", "unit": unit, "seconds": 10.0, "time_s": 110.0})
    assert progress.left_at(110.0) == pytest.approx(10.0)


def test_units_of_unfit_data_make_the_others_look_short():
    progress = StageProgress()
    progress.take({"kind": "units_planned", "total": 4, "reused": 0, "time_s": 100.0})
    unfit = {"kind": "unit_done", "unit": "a", "seconds": 1.0, "excluded": True, "time_s": 101.0}
    progress.take(unfit)
    progress.take({"kind": "unit_done", "unit": "b", "seconds": 30.0, "time_s": 131.0})
    assert progress.left_at(131.0) == pytest.approx(60.0)


def test_events_in_any_order_and_of_unknown_units_stop_the_run():
    progress = StageProgress()
    progress.take({"kind": "unit_done", "unit": "a", "seconds": 1.0, "time_s": 5.0})
    progress.take({"kind": "step", "unit": "b", "step": 1, "total": 4, "time_s": 6.0})
    assert progress.left_at(6.0) is None
    progress.take({"kind": "units_planned", "total": 2, "reused": 2, "time_s": 7.0})
    progress.take({"kind": "unit_failed", "unit": "z", "time_s": 8.0})
    assert progress.left_at(8.0) is None


def test_a_part_of_a_stage_without_units_ends_the_run():
    """The report has such a part when no pair was good enough to train on."""
    estimate = TimeLeft()
    estimate.planned({"P-01": 1.0}, 1, START_S)
    estimate.ended("P-01", START_S + 10, seconds=10)
    estimate.planned({}, 0, START_S + 11)
    assert estimate.left_s(START_S + 12) == 0.0
