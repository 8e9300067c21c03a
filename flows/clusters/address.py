"""``--cluster tcp://...`` or ``tls://...``: a Dask scheduler that is already running."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from synthct.data.errors import MachineError
from synthct.flows.clusters.started import Cluster, facts_of
from synthct.tasks.pipeline import dask_client

CONNECT_TIMEOUT = "10s"
"""Time within which the scheduler must answer."""


@contextlib.contextmanager
def open_address(address: str) -> Iterator[Cluster]:
    """Connect to the scheduler (over TLS for ``tls://``) and leave it running afterwards.

    Raises
    ------
    MachineError
        ``scheduler-not-up``: no scheduler answers within `CONNECT_TIMEOUT`.
    """
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(dask_client.connect(address, CONNECT_TIMEOUT))
        except MachineError as error:
            raise MachineError(
                error.problem,
                rule=error.rule,
                where=f"--cluster {address}",
                remedy="start it with `dask scheduler`, or use --cluster local",
                code=error.code,
            ) from error
        workers = client.scheduler_info()["workers"]
        yield Cluster(
            address,
            client.dashboard_link or None,
            gpus=any(each.get("resources", {}).get("GPU") for each in workers.values()),
            look=lambda: facts_of(client.scheduler_info()["workers"]),
        )
