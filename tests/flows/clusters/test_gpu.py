"""Two pretended GPUs: what a worker sees and declares is real, only the devices are not."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest

from synthct.data.environment import GPU_UNITS
from synthct.data.errors import MachineError
from synthct.flows.clusters import gpu
from synthct.flows.clusters.opening import open_cluster
from synthct.tasks.pipeline import fanout


@dataclass(frozen=True)
class Item:
    number: int
    gpu: bool


def sees(item: Item) -> tuple[str, float]:
    from distributed import get_worker

    return os.environ["CUDA_VISIBLE_DEVICES"], get_worker().state.total_resources.get("GPU", 0.0)


def test_two_units_share_a_gpu_or_a_unit_runs_beside_it(request, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setenv(GPU_UNITS, "1")
    root = request.config.rootpath
    with open_cluster("gpu", workers=3, root=root, variables={}) as cluster:
        assert cluster.gpus
        on = fanout.OnDask(cluster.scheduler)
        wanting = list(on(sees, [Item(n, gpu=True) for n in range(8)], label=str))
        seen = {outcome.result() for _, outcome in wanting}
        assert seen <= {("3", 1.0), ("5", 1.0)}
        facts = cluster.workers()
        assert sorted((each["name"], each["gpus"]) for each in facts) == [
            ("cpu-0", 0.0), ("gpu-3", 1.0), ("gpu-5", 1.0),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("allowed", "found"), [("", []), ("-1", []), ("0", ["0"]), ("2, 7", ["2", "7"])]
)
def test_a_gpu_that_the_user_hid_is_taken(allowed, found, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert gpu.devices() == found


def test_a_machine_without_gpu_runs_on_its_cores_and_says_nothing(request, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(MachineError, match="--cluster local"):
        with open_cluster("gpu", workers=None, root=request.config.rootpath, variables={}):
            pass
