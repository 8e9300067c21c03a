"""Settings of a site's cluster, read from a YAML file of their own: they never change a result."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synthct.data.environment import CLUSTER_FILE
from synthct.data.errors import UsageError
from synthct.data.yaml_text import load_yaml


class Settings(BaseModel):
    """Base class: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Slurm(Settings):
    """``infra/slurm/cluster.yaml``: one job is one worker process.

    The keys have the names of `sbatch`'s options.
    """

    partition: str | None = None
    account: str | None = None
    walltime: str = Field(default="04:00:00", pattern=r"(\d+-)?\d{1,3}:\d{2}:\d{2}")
    cores: int = Field(default=4, ge=1)
    memory_gib: float = Field(default=16.0, gt=0)
    gpus: int = Field(default=0, ge=0, le=1)
    """GPUs per worker, 0 or 1; a worker with one declares the resource ``GPU``."""
    minimum: int = Field(default=0, ge=0)
    maximum: int = Field(default=8, ge=1)
    """Bounds of the number of jobs, which follows the amount of work."""
    interface: str | None = None
    """Network interface that reaches the nodes, e.g. ``ib0``."""
    prologue: tuple[str, ...] = Field(default=(), strict=False)
    """Shell lines before the worker starts, e.g. ``module load cuda``."""
    directives: tuple[str, ...] = Field(default=(), strict=False)
    """Additional ``#SBATCH`` lines, without the ``#SBATCH``."""


class Kubernetes(Settings):
    """``infra/kubernetes/cluster.yaml``: a DaskCluster of the Dask operator."""

    namespace: str = "synthct"
    image: str
    cores: int = Field(default=4, ge=1)
    memory_gib: float = Field(default=16.0, gt=0)
    gpus: int = Field(default=0, ge=0, le=1)
    minimum: int = Field(default=0, ge=0)
    maximum: int = Field(default=8, ge=1)
    claim: str = "synthct-work"
    """ReadWriteMany volume claim that holds the checkout; mounted at the same path as here."""
    tls_secret: str = "synthct-tls"
    s3_secret: str | None = None
    """Secret whose keys become environment variables of the workers (AWS_ACCESS_KEY_ID etc.)."""
    user: int = Field(default=10001, ge=1)
    """User id of the workers; never root."""


Kind = TypeVar("Kind", bound=Settings)


def read_settings(kind: type[Kind], root: Path, name: str) -> Kind:
    """Read the settings of one kind of cluster; every invalid key is reported at once.

    Raises
    ------
    UsageError
        ``no-cluster-file``, ``bad-cluster-file``.
    """
    path = Path(os.environ.get(CLUSTER_FILE) or root / "infra" / name / "cluster.yaml")
    if not path.is_file():
        raise UsageError(
            "no such file",
            rule=f"--cluster {name} reads its settings from it",
            where=str(path),
            remedy=f"copy infra/{name}/cluster.yaml and set {CLUSTER_FILE}",
            code="no-cluster-file",
        )
    try:
        return kind.model_validate(load_yaml(path.read_text(errors="replace")) or {})
    except (ValidationError, yaml.YAMLError) as error:
        raise UsageError(
            f"the settings of the cluster are invalid: {_summary(error)}",
            where=str(path),
            remedy="docs/how-to/operations.md lists the keys",
            code="bad-cluster-file",
        ) from error


def _summary(error: ValidationError | yaml.YAMLError) -> str:
    if isinstance(error, yaml.YAMLError):
        return " ".join(str(error).split())
    return "; ".join(
        f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()
    )
