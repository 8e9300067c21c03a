"""The watcher: predict the scans that arrive in an inbox, each once, with a history in Prefect.

``tasks/prediction/outbox.py`` guarantees that each scan is predicted once, even if the watcher is
killed. Prefect only records the history; it does not decide whether a scan is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from synthct.flows.run.prefect_server import prefect_server
from synthct.tasks.prediction.arrival import Inbox
from synthct.tasks.prediction.batch import (
    BatchSettings,
    Result,
    predict_arrival,
    predict_waiting,
    waiting,
)
from synthct.tasks.prediction.outbox import Outbox


def watch(
    inbox: Inbox,
    outbox: Outbox,
    settings: BatchSettings,
    *,
    once: bool,
    every_s: float,
    tell: Callable[[Result], None],
    say: Callable[[str], None],
    home: Path | None,
) -> list[Result]:
    """Predict the waiting scans; without ``once``, keep polling the inbox until stopped.

    Parameters
    ----------
    inbox, outbox
        Where scans arrive and results go.
    settings
        Release, format and options of the predictions.
    once
        Poll once (twice if entries are still changing) and return.
    every_s
        Pause between two polls [s].
    tell
        Called with each result as it comes.
    say
        Called with notes about the inbox; they contain no names.
    home
        Folder of the Prefect server; None: without Prefect.
    """
    poller = _Poller(inbox, outbox, settings, say)
    if home is None:
        return list(_reported(poller.results(predict_waiting, once, every_s), tell))
    with prefect_server(home) as server:
        return list(_reported(poller.results(_in_prefect(server), once, every_s), tell))


Batch = Callable[[Inbox, Outbox, BatchSettings], Iterator[Result]]


@dataclass
class _Poller:
    """Polls an inbox and predicts the scans that are complete."""

    inbox: Inbox
    outbox: Outbox
    settings: BatchSettings
    say: Callable[[str], None]
    _reported_notes: list[str] = field(default_factory=list)

    def results(self, batch: Batch, once: bool, every_s: float) -> Iterator[Result]:
        """Results of the predictions, as they come."""
        yield from self._poll(batch)
        if once:
            # A scan is complete when two polls see the same files, so wait for new ones. The second
            # poll also retries a scan whose worker died.
            if self.inbox.pending.count:
                time.sleep(self.inbox.pending.rest_s)
            yield from self._poll(batch)
            if left := self.inbox.pending.count:
                self.say(f"{left} entries are still changing and were not predicted; retry later")
            return
        while True:
            time.sleep(every_s)
            yield from self._poll(batch)

    def _poll(self, batch: Batch) -> Iterator[Result]:
        found = waiting(self.inbox, self.outbox, self.settings)
        if found:
            yield from batch(self.inbox, self.outbox, self.settings)
            found = waiting(self.inbox, self.outbox, self.settings)
        pending = self.inbox.pending
        oldest_s = max([pending.oldest_s, *(arrival.known_s for _, arrival in found)])
        self.outbox.record_poll(pending.count + len(found), oldest_s)
        for note in self.inbox.notes:
            if note not in self._reported_notes:
                self.say(note)
        self._reported_notes = list(self.inbox.notes)


def _reported(results: Iterator[Result], tell: Callable[[Result], None]) -> Iterator[Result]:
    for result in results:
        tell(result)
        yield result


def _in_prefect(server: str) -> Batch:
    """Predict a batch in one Prefect flow run, with a task run per scan named by its key."""
    from prefect import flow, task
    from prefect.artifacts import create_table_artifact
    from prefect.cache_policies import NO_CACHE

    from synthct.flows.run.journal import at_server, flush_senders

    def run(inbox: Inbox, outbox: Outbox, settings: BatchSettings) -> Iterator[Result]:
        arrivals = dict(waiting(inbox, outbox, settings))
        results: list[Result] = []

        def predict(key: str) -> str:
            results.append(predict_arrival(key, arrivals[key], inbox, outbox, settings))
            return results[-1].status

        @flow(name="synthct-watch", persist_result=False)
        def batch(scans: list[str]) -> None:
            for key in arrivals:
                step = task(
                    name="predict", task_run_name=key[:16], cache_policy=NO_CACHE,
                    persist_result=False,
                )(predict)  # fmt: skip
                step(key)
            rows = [{"scan": r.key[:16], "status": r.status, "message": r.message} for r in results]
            create_table_artifact(table=rows, key="predictions")

        if arrivals:
            with at_server(server):
                try:
                    batch([key[:16] for key in arrivals])
                finally:
                    flush_senders()
        yield from results

    return run
