"""`--cluster slurm` on a real queue: the Slurm of one node that infra/slurm/one-node.sh starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from synthct.data.environment import CLUSTER_FILE, TLS
from synthct.flows.clusters.authority import make_authority
from synthct.flows.clusters.opening import open_cluster
from synthct.tasks.pipeline.fanout import OnDask
from tests.conftest import skip_or_fail

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "infra/slurm/one-node.sh"
PROGRAMS = ("sbatch", "squeue", "scancel", "slurmctld", "slurmd", "munged")


def where_it_ran(number: int) -> tuple[int, str]:
    """The unit's number and the Slurm job that computed it."""
    time.sleep(1.0)
    return number, os.environ["SLURM_JOB_ID"]


def jobs() -> list[str]:
    """Numbers of the jobs in the queue."""
    listed = subprocess.run(
        ["squeue", "--noheader", "--format=%i"], capture_output=True, text=True, check=True
    )
    return listed.stdout.split()


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A queue of one node, certificates and the settings of a site."""
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")
    if not all(shutil.which(name) for name in PROGRAMS):
        skip_or_fail("slurm", "Slurm is absent (apt-get install slurm-wlm munge)")
    made = subprocess.run(
        [SCRIPT, "start", tmp_path / "slurm"], capture_output=True, text=True, check=True
    )
    monkeypatch.setenv(*made.stdout.removeprefix("export ").strip().split("=", 1))
    make_authority(tmp_path / "tls")
    monkeypatch.setenv(TLS, str(tmp_path / "tls"))
    settings = {"cores": 1, "memory_gib": 1.0, "gpus": 0, "maximum": 2, "interface": "lo"}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setenv(CLUSTER_FILE, str(tmp_path / "site.yaml"))
    yield
    subprocess.run([SCRIPT, "stop", tmp_path / "slurm"], check=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_that_the_queue_ends_loses_its_unit_or_jobs_stay_behind(queue, until):
    with open_cluster("slurm", workers=None, root=ROOT, variables={}) as cluster:
        outcomes = OnDask(cluster.scheduler)(where_it_ran, range(40), label=str)
        seen: dict[int, str] = {}
        ended = ""
        for item, outcome in outcomes:
            number, job = outcome.result()
            assert number == item
            seen[item] = job
            if len(seen) == 5:
                ended = job
                subprocess.run(["scancel", job], check=True)
        assert sorted(seen) == list(range(40))
        assert len(set(seen.values()) - {ended}) >= 1, "the other units ran in other jobs"
    until(lambda: not jobs(), 60, "an empty queue")
