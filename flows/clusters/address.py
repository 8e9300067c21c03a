"""A scheduler that somebody else runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from synthct.data.errors import MachineError
from synthct.flows.clusters.started import Cluster, facts_of
from synthct.tasks.pipeline import dask_client

PATIENCE = "10s"
"""For the scheduler of others to answer."""


@contextlib.contextmanager
def open_address(address: str) -> Iterator[Cluster]:
    """Use it and leave it running; it must answer, over TLS where the address says so."""
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(dask_client.connect(address, PATIENCE))
        except MachineError as fault:
            raise MachineError(
                fault.rule,
                where=f"--cluster {address}",
                got=fault.got,
                remedy="start it with `dask scheduler`, or use --cluster local",
                code=fault.code,
            ) from fault
        workers = client.scheduler_info()["workers"]
        yield Cluster(
            address,
            client.dashboard_link or None,
            gpus=any(each.get("resources", {}).get("GPU") for each in workers.values()),
            look=lambda: facts_of(client.scheduler_info()["workers"]),
        )
