"""When a unit is retried, and when it is reported as a straggler; needs no cluster."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from synthct.data.errors import MachineError

_OUT_OF_MEMORY = "OutOfMemoryError"
"""torch's error of a full GPU, by name so that torch need not be imported."""


@dataclass(frozen=True)
class RetryPolicy:
    """Number of attempts of a unit, and the pauses between them.

    Parameters
    ----------
    tries
        Largest number of attempts.
    first_wait_s
        Pause before the second attempt [s].
    factor
        Ratio of each further pause to the one before.
    """

    tries: int = 3
    first_wait_s: float = 1.0
    factor: float = 4.0

    def wait_s(self, tried: int) -> float:
        """Pause after ``tried`` failed attempts [s]."""
        return float(self.first_wait_s * self.factor ** (tried - 1))

    def again(self, error: Exception, tried: int) -> bool:
        """Whether to try once more: only after a transient error."""
        return tried < self.tries and is_transient(error)


def is_transient(error: Exception) -> bool:
    """Whether it is an error of disk, network or memory; a bug fails again on every machine."""
    by_name = type(error).__name__ == _OUT_OF_MEMORY
    return by_name or isinstance(error, MachineError | OSError | MemoryError)


@dataclass
class Pace:
    """Finds slow units by the durations of finished ones.

    Parameters
    ----------
    min_s
        Shortest duration of a slow unit [s].
    factor
        Shortest duration of a slow unit relative to the median of the finished ones.
    """

    min_s: float = 60.0
    factor: float = 4.0
    _durations_s: list[float] = field(default_factory=list)
    _seen_s: dict[str, float] = field(default_factory=dict)
    _reported: set[str] = field(default_factory=set)

    def finished(self, seconds: float) -> None:
        """Add the duration of a finished unit."""
        self._durations_s.append(seconds)

    @property
    def median_s(self) -> float:
        """Median duration of the finished units [s]; infinite for fewer than three."""
        few = len(self._durations_s) < 3
        return float("inf") if few else statistics.median(self._durations_s)

    def stragglers(self, running: set[str], now_s: float) -> list[tuple[str, float]]:
        """(key, seconds so far) of running units that became slow since the last call."""
        self._seen_s = {key: self._seen_s.get(key, now_s) for key in running}
        limit_s = max(self.min_s, self.factor * self.median_s)
        slow = [
            (key, now_s - since_s)
            for key, since_s in self._seen_s.items()
            if now_s - since_s > limit_s and key not in self._reported
        ]
        self._reported |= {key for key, _ in slow}
        return slow
