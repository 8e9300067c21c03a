"""``--cluster kubernetes``: workers as pods of the Dask operator."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from synthct.data.environment import TLS, UNITS
from synthct.data.errors import MachineError
from synthct.flows.clusters.settings import Kubernetes, read_settings
from synthct.flows.clusters.started import ONE_AT_A_TIME, SINGLE_THREADED, Cluster, adapted
from synthct.flows.workspace.project import PRIVATE
from synthct.tasks.pipeline import dask_client

_CERTIFICATES = "/run/secrets/synthct-tls"


@contextlib.contextmanager
def open_kubernetes(root: Path, variables: Mapping[str, str]) -> Iterator[Cluster]:
    """Create a DaskCluster for this run; the operator removes it when the run ends."""
    settings = read_settings(Kubernetes, root, "kubernetes")
    try:
        from dask_kubernetes.operator import KubeCluster
    except ModuleNotFoundError as error:
        raise MachineError(
            "--cluster kubernetes needs dask-kubernetes, which is not installed",
            remedy="pip install '.[kubernetes]'",
            code="package-missing",
        ) from error

    cluster = KubeCluster(
        custom_cluster_spec=cluster_spec(settings, root, variables),
        namespace=settings.namespace,
        security=dask_client.security("tls://"),
        shutdown_on_close=True,
    )
    with adapted(
        cluster, minimum=settings.minimum, maximum=settings.maximum, gpus=settings.gpus > 0
    ) as started:
        yield started


def cluster_spec(settings: Kubernetes, root: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """The ``DaskCluster`` resource: non-root, read-only image, no privileges, TLS only."""
    name = f"synthct-{secrets.token_hex(4)}"
    ports = [
        {"name": "tcp-comm", "containerPort": 8786, "protocol": "TCP"},
        {"name": "http-dashboard", "containerPort": 8787, "protocol": "TCP"},
    ]
    scheduler = _container(
        settings, root, variables, "scheduler",
        ["dask", "scheduler", "--protocol", "tls", "--host", "0.0.0.0"],
    ) | {"ports": ports}  # fmt: skip
    command = ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--nthreads", "1"]
    worker = _container(settings, root, variables, "worker", [*command, *_resources(settings)])
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "synthct"}},
        "spec": {
            "idleTimeout": 600,
            "worker": {"replicas": settings.minimum, "spec": _pod(settings, worker)},
            "scheduler": {
                "spec": _pod(settings, scheduler),
                "service": {
                    "type": "ClusterIP",
                    "selector": {
                        "dask.org/cluster-name": name,
                        "dask.org/component": "scheduler",
                    },
                    "ports": [
                        {"name": port["name"], "port": port["containerPort"],
                         "targetPort": port["name"], "protocol": "TCP"}
                        for port in ports
                    ],
                },
            },
        },
    }  # fmt: skip


def _resources(settings: Kubernetes) -> list[str]:
    return ["--resources", "GPU=1"] if settings.gpus else []


def _pod(settings: Kubernetes, container: dict[str, Any]) -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": settings.user,
            "runAsGroup": settings.user,
            "fsGroup": settings.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "work", "persistentVolumeClaim": {"claimName": settings.claim}},
            {"name": "tls", "secret": {"secretName": settings.tls_secret, "defaultMode": 0o440}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _container(
    settings: Kubernetes, root: Path, variables: Mapping[str, str], role: str, command: list[str]
) -> dict[str, Any]:
    tls = "DASK_DISTRIBUTED__COMM__TLS__"
    certificates = {f"{tls}CA_FILE": f"{_CERTIFICATES}/ca.pem"}
    for part in ("SCHEDULER", "WORKER", "CLIENT"):
        certificates[f"{tls}{part}__CERT"] = f"{_CERTIFICATES}/node.pem"
        certificates[f"{tls}{part}__KEY"] = f"{_CERTIFICATES}/node.key"
    values = {
        **SINGLE_THREADED,
        **{str(name): value for name, value in variables.items()},
        "PYTHONPATH": str(root / "src"),
        "HOME": "/tmp",
        str(TLS): _CERTIFICATES,
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true",
        **certificates,
        **{_dask_variable(key): str(value) for key, value in ONE_AT_A_TIME.items()},
    }  # fmt: skip
    if units := UNITS.get():
        values[str(UNITS)] = units
    size: dict[str, Any] = {"cpu": str(settings.cores), "memory": f"{settings.memory_gib:g}Gi"}
    if settings.gpus and role == "worker":
        size["nvidia.com/gpu"] = "1"
    found: dict[str, Any] = {
        "name": role,
        "image": settings.image,
        "args": command,
        "workingDir": str(root),
        "env": [{"name": key, "value": value} for key, value in sorted(values.items())],
        "resources": {"requests": size, "limits": size},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "work", "mountPath": str(_checkout(root))},
            {"name": "tls", "mountPath": _CERTIFICATES, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    if settings.s3_secret:
        found["envFrom"] = [{"secretRef": {"name": settings.s3_secret}}]
    return found


def _checkout(root: Path) -> Path:
    """Where the volume claim is mounted: the checkout, which contains scheduled runs' worktrees."""
    above = root.parents
    if len(above) > 2 and (above[1].name, above[0].name) == (PRIVATE, "worktrees"):
        return above[2]
    return root


def _dask_variable(key: str) -> str:
    return "DASK_" + key.upper().replace(".", "__").replace("-", "_")
