"""Progress bar for a job of a few long steps, with an estimate of the time left."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

REFRESH_S = 0.5


@dataclass
class Forecast:
    """Estimates the time left of a job whose steps take known shares of its time.

    There is no estimate until the first step has ended; from then on the elapsed time is scaled by
    the shares. A step that takes longer than its share counts as 95 % done at most, so that the
    estimate never claims that the job is about to end.

    Parameters
    ----------
    shares
        Share of each step in the whole time, in order of execution.
    clock
        Monotonic clock [s].
    """

    shares: Mapping[str, float]
    clock: Callable[[], float] = time.monotonic
    _begun: dict[str, float] = field(default_factory=dict)

    def begin(self, step: str) -> None:
        """Mark the start of a step, which ends the step before it."""
        self._begun.setdefault(step, self.clock())

    def fraction_and_left_s(self) -> tuple[float, float | None]:
        """Fraction done [1] and seconds left; None while there is no estimate."""
        known = [step for step in self._begun if step in self.shares]
        if not known:
            return 0.0, None
        *ended, current = known
        done = sum(self.shares[step] for step in ended)
        whole = sum(self.shares.values())
        start, now = self._begun[known[0]], self.clock()
        if done <= 0:
            return 0.0, None
        pace_s = (self._begun[current] - start) / done
        expected_s = max(pace_s * self.shares[current], 1e-6)
        within = min((now - self._begun[current]) / expected_s, 0.95)
        fraction = (done + within * self.shares[current]) / whole
        return fraction, pace_s * whole * (1 - fraction)


@contextlib.contextmanager
def step_bar(shares: Mapping[str, float]) -> Iterator[Callable[[str], None]]:
    """Show a bar on standard error; yields a function to call with each step as it starts."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    forecast = Forecast(shares)
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    ended = threading.Event()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("", total=1.0, left="")

        def refresh() -> None:
            while not ended.wait(REFRESH_S):
                fraction, left_s = forecast.fraction_and_left_s()
                bars.update(bar, completed=fraction, left=_words(left_s))

        def begin(step: str) -> None:
            forecast.begin(step)
            bars.update(bar, description=step)

        thread = threading.Thread(target=refresh, daemon=True, name="forecast")
        thread.start()
        try:
            yield begin
        finally:
            ended.set()
            thread.join()


def _words(left_s: float | None) -> str:
    return "" if left_s is None else f"about {_clock(left_s)} left"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
