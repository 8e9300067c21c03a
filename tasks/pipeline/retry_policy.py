"""When a unit is tried again, and when it is called a straggler: decisions without a cluster."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from synthct.data.errors import MachineError

_OUT_OF_MEMORY = "OutOfMemoryError"
"""torch's name for a full GPU; torch is not imported to know it."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often a unit is tried and how long is waited in between.

    Parameters
    ----------
    tries
        Attempts in all.
    first_wait_s
        Before the second attempt [s].
    factor
        Each further wait is this much longer.
    """

    tries: int = 3
    first_wait_s: float = 1.0
    factor: float = 4.0

    def wait_s(self, tried: int) -> float:
        """Seconds to wait after ``tried`` failed attempts."""
        return float(self.first_wait_s * self.factor ** (tried - 1))

    def again(self, error: Exception, tried: int) -> bool:
        """Whether to try once more: only what another moment or machine can mend."""
        return tried < self.tries and passes(error)


def passes(error: Exception) -> bool:
    """Disk, network, memory, a lost peer; a bug or a wrong parameter fails the same everywhere."""
    by_name = type(error).__name__ == _OUT_OF_MEMORY
    return by_name or isinstance(error, MachineError | OSError | MemoryError)


@dataclass
class Pace:
    """Durations of finished units, against which a slow one stands out.

    Parameters
    ----------
    least_s
        A unit is never called slow before this [s].
    factor
        ... nor before so many medians.
    """

    least_s: float = 60.0
    factor: float = 4.0
    _durations_s: list[float] = field(default_factory=list)
    _seen_s: dict[str, float] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def finished(self, seconds: float) -> None:
        """Learn one duration."""
        self._durations_s.append(seconds)

    @property
    def median_s(self) -> float:
        """Of the finished units; infinite before there are three."""
        few = len(self._durations_s) < 3
        return float("inf") if few else statistics.median(self._durations_s)

    def stragglers(self, running: set[str], now_s: float) -> list[tuple[str, float]]:
        """(key, seconds so far) of running units that became slow since the last look."""
        self._seen_s = {key: self._seen_s.get(key, now_s) for key in running}
        limit_s = max(self.least_s, self.factor * self.median_s)
        slow = [
            (key, now_s - since_s)
            for key, since_s in self._seen_s.items()
            if now_s - since_s > limit_s and key not in self._told
        ]
        self._told |= {key for key, _ in slow}
        return slow
