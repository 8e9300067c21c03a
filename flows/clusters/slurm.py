"""``--cluster slurm``: workers as Slurm jobs, as many as there is work for."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from synthct.data.environment import TLS
from synthct.data.errors import MachineError
from synthct.data.layout import default_root
from synthct.flows.clusters.settings import Slurm, read_settings
from synthct.flows.clusters.started import (
    ONE_AT_A_TIME,
    SINGLE_THREADED,
    Cluster,
    adapted,
    private_dashboard,
)
from synthct.tasks.pipeline import dask_client


@contextlib.contextmanager
def open_slurm(root: Path, variables: Mapping[str, str]) -> Iterator[Cluster]:
    """Start a scheduler here and its workers as jobs; all connections use the site's certificates.

    The checkout must be on a file system that the nodes share; the result cache as well, or on S3.

    Raises
    ------
    MachineError
        ``no-slurm``, ``package-missing``.
    """
    settings = read_settings(Slurm, root, "slurm")
    if shutil.which("sbatch") is None:
        raise MachineError(
            "sbatch is not on PATH",
            rule="--cluster slurm submits its jobs with it",
            remedy="run it on a login node, or use --cluster local",
            code="no-slurm",
        )
    import dask

    try:
        from dask_jobqueue.slurm import SLURMCluster
    except ModuleNotFoundError as error:
        raise MachineError(
            "--cluster slurm needs dask-jobqueue, which is not installed",
            remedy="pip install '.[slurm]'",
            code="package-missing",
        ) from error

    with dask.config.set(ONE_AT_A_TIME), private_dashboard() as dashboard:
        cluster = SLURMCluster(
            **job(settings, root, variables), scheduler_options={"dashboard_address": dashboard}
        )
        with adapted(
            cluster, minimum=settings.minimum, maximum=settings.maximum, gpus=settings.gpus > 0
        ) as started:
            yield started


def job(settings: Slurm, root: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of dask-jobqueue's ``SLURMCluster``: one single-threaded worker per job."""
    inherited = {
        **SINGLE_THREADED,
        **variables,
        "PYTHONPATH": str(root / "src"),
        TLS: str(dask_client.tls_folder()),
    }
    exports = [f"export {name}={_quoted(value)}" for name, value in sorted(inherited.items())]
    gpu = ["--gpus-per-task=1"] if settings.gpus else []
    return {
        "queue": settings.partition,
        "account": settings.account,
        "walltime": settings.walltime,
        "cores": 1,  # Dask threads; the threads within a unit of work are a parameter
        "processes": 1,
        "job_cpu": settings.cores,
        "memory": f"{settings.memory_gib}GiB",
        "interface": settings.interface,
        "job_script_prologue": [*settings.prologue, *exports, f"cd {_quoted(str(root))}"],
        "job_extra_directives": [*gpu, *settings.directives],
        "worker_extra_args": ["--resources", "GPU=1"] if settings.gpus else [],
        "local_directory": None,
        "log_directory": str(default_root() / "slurm"),  # in the checkout: survives a worktree
        "protocol": "tls",
        "security": dask_client.security("tls://"),
    }


def _quoted(value: str) -> str:
    import shlex

    return shlex.quote(value)
