"""The batch flow: scans that arrive are predicted once each, and Prefect shows what became of them.

What "once" means, and how a kill is survived, is said in ``tasks/prediction/outbox.py``: Prefect
keeps the history, it is not asked whether a scan has been done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from synthct.flows.run.prefect_server import prefect_server
from synthct.tasks.prediction.batch import Orders, Result, predict_arrival, predict_waiting, waiting
from synthct.tasks.prediction.inbox import Inbox
from synthct.tasks.prediction.outbox import Outbox


def watch(
    inbox: Inbox,
    outbox: Outbox,
    orders: Orders,
    *,
    once: bool,
    every_s: float,
    tell: Callable[[Result], None],
    home: Path | None,
) -> list[Result]:
    """Predict what waits; without ``once`` go on looking until stopped.

    Parameters
    ----------
    every_s
        Pause between two looks [s].
    tell
        Called with each result as it comes.
    home
        Folder of the Prefect server; None: without Prefect.
    """
    if home is None:
        return list(_told(_looks(inbox, outbox, orders, predict_waiting, once, every_s), tell))
    with prefect_server(home) as server:
        found = _looks(inbox, outbox, orders, _conducted(server), once, every_s)
        return list(_told(found, tell))


Batch = Callable[[Inbox, Outbox, Orders], Iterator[Result]]


def _looks(
    inbox: Inbox, outbox: Outbox, orders: Orders, batch: Batch, once: bool, every_s: float
) -> Iterator[Result]:
    while True:
        if waiting(inbox, outbox, orders):
            yield from batch(inbox, outbox, orders)
        if once:
            # A worker that died once is tried once more; two looks at a prefix tell a settled one.
            yield from batch(inbox, outbox, orders)
            return
        time.sleep(every_s)


def _told(results: Iterator[Result], tell: Callable[[Result], None]) -> Iterator[Result]:
    for result in results:
        tell(result)
        yield result


def _conducted(server: str) -> Batch:
    """A batch as one Prefect flow run with a task run for each scan, named by its key."""
    from prefect import flow, task
    from prefect.artifacts import create_table_artifact
    from prefect.cache_policies import NO_CACHE
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from synthct.flows.run.journal import send_the_rest

    def run(inbox: Inbox, outbox: Outbox, orders: Orders) -> Iterator[Result]:
        arrivals = dict(waiting(inbox, outbox, orders))
        results: list[Result] = []

        def predict(key: str) -> str:
            results.append(predict_arrival(key, arrivals[key], inbox, outbox, orders))
            return results[-1].status

        @flow(name="synthct-watch", persist_result=False)
        def batch(scans: list[str]) -> None:
            for key in arrivals:
                step = task(
                    name="predict", task_run_name=key[:16], cache_policy=NO_CACHE,
                    persist_result=False,
                )(predict)  # fmt: skip
                step(key)
            rows = [{"scan": r.key[:16], "status": r.status, "told": r.told} for r in results]
            create_table_artifact(table=rows, key="predictions")

        if arrivals:
            with temporary_settings({PREFECT_API_URL: server}):
                try:
                    batch([key[:16] for key in arrivals])
                finally:
                    send_the_rest()
        yield from results

    return run
