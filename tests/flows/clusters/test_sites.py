"""What is sent to Slurm and to Kubernetes, rendered and checked without a cluster."""

from __future__ import annotations

import pytest
import yaml

from synthct.data.environment import CLUSTER_FILE, TLS
from synthct.data.errors import MachineError, UsageError
from synthct.flows.clusters.authority import make_authority
from synthct.flows.clusters.kubernetes import cluster_spec
from synthct.flows.clusters.opening import open_cluster
from synthct.flows.clusters.settings import Kubernetes, Slurm, read_settings
from synthct.flows.clusters.slurm import job
from synthct.flows.clusters.started import ONE_AT_A_TIME


@pytest.fixture
def certificates(tmp_path, monkeypatch):
    make_authority(tmp_path / "tls")
    monkeypatch.setenv(TLS, str(tmp_path / "tls"))


@pytest.mark.parametrize(("name", "kind"), [("slurm", Slurm), ("kubernetes", Kubernetes)])
def test_the_file_that_we_ship_is_not_valid(name, kind, request):
    assert read_settings(kind, request.config.rootpath, name) != kind.model_construct()


def test_faults_of_a_cluster_file_are_reported_one_by_one(tmp_path, monkeypatch):
    (tmp_path / "c.yaml").write_text("partitoin: gpu\ncores: 0\nwalltime: soon\n")
    monkeypatch.setenv(CLUSTER_FILE, str(tmp_path / "c.yaml"))
    with pytest.raises(UsageError) as caught:
        read_settings(Slurm, tmp_path, "slurm")
    for key in ("partitoin", "cores", "walltime"):
        assert f"{key}: " in caught.value.problem


def test_a_machine_without_sbatch_waits_for_a_queue(request, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MachineError, match="login node"):
        with open_cluster("slurm", workers=None, root=request.config.rootpath, variables={}):
            pass


def test_the_job_script_lacks_gpu_certificates_or_code(tmp_path, certificates):
    from dask_jobqueue.slurm import SLURMJob

    arguments = job(
        Slurm(partition="gpu", gpus=1, cores=6, memory_gib=20.0, walltime="01:00:00",
              prologue=("module load cuda",)),
        tmp_path, {"SYNTHCT_UNITS": "s3://bucket/our units"},
    )  # fmt: skip
    script = SLURMJob("tls://10.0.0.5:8786", name="synthct", **arguments).job_script()
    for line in (
        "#SBATCH -p gpu", "#SBATCH --cpus-per-task=6", "#SBATCH --mem=20G", "#SBATCH -t 01:00:00",
        "#SBATCH --gpus-per-task=1", "module load cuda", f"export PYTHONPATH={tmp_path}/src",
        "export SYNTHCT_UNITS='s3://bucket/our units'", "export OMP_NUM_THREADS=1",
    ):  # fmt: skip
        assert line in script, script
    assert "--resources GPU=1" in script
    assert "--tls-ca-file" in script
    assert "--nthreads 1" in script


@pytest.mark.parametrize("inside", ["", ".synthct/worktrees/demo.run.12"])
def test_a_scheduled_runs_pods_see_the_checkout_in_the_place_of_its_worktree(inside, tmp_path):
    """The claim holds the checkout: mounted at the worktree it would give the wrong code."""
    spec = cluster_spec(Kubernetes(image="r.example.org/s:1"), tmp_path / inside, {})
    (worker,) = spec["spec"]["worker"]["spec"]["containers"]
    assert {"name": "work", "mountPath": str(tmp_path)} in worker["volumeMounts"]
    assert worker["workingDir"] == str(tmp_path / inside)
    told = {each["name"]: each["value"] for each in worker["env"]}
    assert told["PYTHONPATH"] == str(tmp_path / inside / "src")


def test_a_pod_may_write_its_image_gain_rights_or_speak_in_the_clear(tmp_path):
    import kubernetes_validate

    spec = cluster_spec(Kubernetes(image="r.example.org/s:1", gpus=1), tmp_path, {})
    for role in ("scheduler", "worker"):
        pod = {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": role},
            "spec": spec["spec"][role]["spec"],
        }  # fmt: skip
        kubernetes_validate.validate(yaml.safe_load(yaml.safe_dump(pod)), "1.32", strict=True)
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        told = {each["name"]: each["value"] for each in container["env"]}
        assert told["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "true"
        assert told["DASK_DISTRIBUTED__COMM__TLS__CA_FILE"].endswith("/ca.pem")
    (worker,) = spec["spec"]["worker"]["spec"]["containers"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert worker["args"][-2:] == ["--resources", "GPU=1"]


def test_a_scheduler_started_by_hand_forgives_a_unit_more_deaths_than_ours(request):
    """infra/local/dask.yaml repeats what we set for the clusters that we start."""
    from dask import config

    file = request.config.rootpath / "infra" / "local" / "dask.yaml"
    found = config.collect(paths=[str(file)], env={})
    assert {key: config.get(key, config=found) for key in ONE_AT_A_TIME} == ONE_AT_A_TIME
