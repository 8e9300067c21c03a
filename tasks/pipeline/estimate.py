"""Estimated time left of a stage, from the costs of its units and the number that run at once."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

PRIOR_UNITS = 4
"""Weight of the prior that time is proportional to effort, in finished units."""

MIN_SHARE_LEFT = 0.1
"""A unit that takes longer than expected is assumed to have at least this share of its time left
[1]."""


@dataclass
class _Running:
    """A unit that runs since ``since_s``; the first one of a worker is ``cold`` (imports).

    ``steps``: first and latest (time [s], fraction done) that it reported.
    """

    unit: str
    since_s: float
    cold: bool
    steps: list[tuple[float, float]] = field(default_factory=list)

    def projected_s(self) -> float | None:
        """Projected duration from the steps so far, without the time before the first [s]."""
        if not self.steps or self.steps[-1][1] <= 0:
            return None
        (first_s, first), (last_s, last) = self.steps[0], self.steps[-1]
        if last > first and last_s > first_s:
            return (last_s - first_s) / (last - first)
        return (last_s - self.since_s) / last if last_s > self.since_s else None


@dataclass(frozen=True)
class _Sample:
    """A finished unit: its effort, its seconds without imports, and whether the worker was cold."""

    effort: float
    seconds: float
    cold: bool


@dataclass
class TimeLeft:
    """Estimates the time until all units of a stage are done, from their events.

    Each unit has an effort, to which its time is roughly proportional. The relation is fitted to
    the finished units. The first unit of each worker, which imports libraries and fills caches,
    counts only while there are too few others. The remaining units are then scheduled on the
    workers in order, because the last ones leave workers idle.

    All methods take the current time of one clock [s].
    """

    at_once: int = 1
    efforts: dict[str, float] = field(default_factory=dict)
    _queue: deque[str] = field(default_factory=deque)
    _running: list[_Running] = field(default_factory=list)
    _samples: list[_Sample] = field(default_factory=list)
    _excluded: list[_Sample] = field(default_factory=list)
    _warm_up_s: list[float] = field(default_factory=list)
    _cold: int = 1
    _planned_s: float = 0.0
    _worked_s: float = 0.0

    def planned(self, efforts: Mapping[str, float], count: int, now_s: float) -> None:
        """The ``count`` units to compute, in order; those without a name have mean effort."""
        known = {name: max(float(effort), 1e-9) for name, effort in efforts.items()}
        usual = fmean(known.values()) if known else 1.0
        unnamed = {f"#{number}": usual for number in range(count - len(known))}
        self.efforts = known | unnamed
        self._queue, self._running = deque(self.efforts), []
        self._planned_s, self._worked_s = now_s, 0.0
        self._fill(now_s)

    def workers(self, count: int, now_s: float) -> None:
        """How many units run at once from now on."""
        count = max(1, count)
        self._cold += max(0, count - self.at_once)
        self.at_once = count
        self._fill(now_s)

    def step(self, unit: str, fraction: float, now_s: float) -> None:
        """Record the fraction of a running unit that is done."""
        running = self._find(unit, None, now_s)
        if running is None:
            return
        point = (now_s, min(1.0, fraction))
        running.steps = [running.steps[0] if running.steps else point, point]

    def ended(
        self,
        unit: str,
        now_s: float,
        *,
        seconds: float | None = None,
        warm_up_s: float = 0.0,
        counts: bool = True,
        excluded: bool = False,
    ) -> None:
        """A unit has ended.

        Parameters
        ----------
        seconds
            Its duration; None: the time since its known start.
        warm_up_s
            Part of the duration that was spent on imports.
        counts
            Whether its time is representative of other units.
        excluded
            Whether its data were unfit; units of unfit data are often short.
        """
        running = self._find(unit, seconds, now_s)
        if running is None:
            return
        self._running.remove(running)
        took_s = now_s - running.since_s if seconds is None else seconds
        self._worked_s += took_s
        if warm_up_s > 0:
            self._warm_up_s.append(warm_up_s)
        if counts:
            effort = self.efforts.get(running.unit, 1.0)
            sample = _Sample(effort, max(0.0, took_s - warm_up_s), running.cold)
            (self._excluded if excluded else self._samples).append(sample)
        elapsed_s = now_s - self._planned_s
        if elapsed_s > 0 and self._worked_s > 1.2 * self.at_once * elapsed_s:
            self.workers(self.at_once + 1, now_s)  # more units ran than were reported
        self._fill(now_s)

    def left_s(self, now_s: float) -> float | None:
        """Estimated seconds until all units are done; None while nothing is known."""
        samples = self._known()
        if not samples:
            return None
        slope, mean_s, mean_effort = self._fit(samples)

        def expected_s(unit: str) -> float:
            by_effort = mean_s + slope * (self.efforts.get(unit, mean_effort) - mean_effort)
            return max(by_effort, 0.05 * mean_s)

        warm_up_s = fmean(self._warm_up_s) if self._warm_up_s else 0.0
        ends = []
        for running in self._running:
            whole_s = running.projected_s()
            if whole_s is not None:
                last_s, done = running.steps[-1]
                left = whole_s * (1 - done) - (now_s - last_s)
            else:
                whole_s = expected_s(running.unit)
                left = whole_s + warm_up_s * running.cold - (now_s - running.since_s)
            ends.append(max(left, MIN_SHARE_LEFT * whole_s if whole_s else 0.0))
        free = sorted(ends) + [0.0] * max(0, self.at_once - len(ends))
        heapq.heapify(free)
        for unit in self._queue:
            heapq.heappush(free, heapq.heappop(free) + expected_s(unit))
        return max(free, default=0.0)

    def _known(self) -> list[_Sample]:
        warm = [each for each in self._samples if not each.cold]
        found = warm if len(warm) >= self.at_once else list(self._samples)
        for running in self._running:
            whole_s = running.projected_s()
            if whole_s is not None:
                found.append(_Sample(self.efforts.get(running.unit, 1.0), whole_s, running.cold))
        return found or self._excluded

    def _fit(self, samples: Iterable[_Sample]) -> tuple[float, float, float]:
        """Slope [s per effort], mean seconds and mean effort.

        The slope is between 0 and proportionality, its prior.
        """
        points = [(each.effort, each.seconds) for each in samples]
        mean_effort, mean_s = fmean(e for e, _ in points), fmean(s for _, s in points)
        proportional = mean_s / mean_effort
        every = list(self.efforts.values()) or [mean_effort]
        usual = fmean(every)
        prior = PRIOR_UNITS * fmean((e - usual) ** 2 for e in every)
        above = sum((e - mean_effort) * (s - mean_s) for e, s in points) + prior * proportional
        below = sum((e - mean_effort) ** 2 for e, _ in points) + prior
        slope = above / below if below > 0 else proportional
        return min(max(slope, 0.0), proportional), mean_s, mean_effort

    def _fill(self, now_s: float) -> None:
        while self._queue and len(self._running) < self.at_once:
            self._running.append(_Running(self._queue.popleft(), now_s, self._cold > 0))
            self._cold = max(0, self._cold - 1)

    def _find(self, unit: str, seconds: float | None, now_s: float) -> _Running | None:
        """The running unit of that name; units begin in another order than they were planned."""
        for running in self._running:
            if running.unit == unit:
                return running
        silent = [each for each in self._running if not each.steps]
        if not silent:
            if not self._queue:
                return None
            self.workers(self.at_once + 1, now_s)  # more units run than were reported
            silent = self._running[-1:]
        begun_s = now_s if seconds is None else now_s - seconds
        running = min(silent, key=lambda each: abs(each.since_s - begun_s))
        taken = running.unit
        if unit in self._queue:
            self._queue[self._queue.index(unit)] = taken
        else:
            self.efforts[unit] = self.efforts.pop(taken, 1.0)
        running.unit = unit
        return running
