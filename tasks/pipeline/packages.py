"""Which foreign packages compute a result, and in which version: part of every key."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

import yaml

from synthct.data.errors import MachineError, UsageError
from synthct.data.files import write_whole
from synthct.data.yaml_text import load_yaml
from synthct.tasks.pipeline.code import packages_imported, stage_packages

COMPUTING = {
    "numpy": "numpy",
    "scipy": "scipy",
    "torch": "torch",
    "monai": "monai",
    "skimage": "scikit-image",
    "SimpleITK": "SimpleITK-SimpleElastix",
    "pydicom": "pydicom",
    "gdcm": "python-gdcm",
    "onnx": "onnx",
    "onnxscript": "onnxscript",
    "onnxruntime": "onnxruntime",
    "zarr": "zarr",
    "numcodecs": "numcodecs",
    "safetensors": "safetensors",
    "PIL": "pillow",
    "matplotlib": "matplotlib",
    "jinja2": "jinja2",
    "pymedphys": "pymedphys",
}
"""Distribution by import name: packages whose version can change a byte of an out."""

OTHERS = frozenset(
    {"cryptography", "dask", "distributed", "fsspec", "markupsafe", "psutil", "pydantic"}
    | {"s3fs", "tensorboard", "threadpoolctl", "yaml"}
)
"""Packages that carry, check or watch results and make none; their versions are in no key."""

_BROUGHT = {"pydicom": ("gdcm",), "torch": ("numpy",), "onnx": ("onnxscript",)}
"""What a package calls without requiring it: pydicom decodes compressed pixels with gdcm."""

_FOR_ITSELF = frozenset({"jinja2", "PIL", "matplotlib"})
"""Pages and pictures: they count where we import them, not where a library can make some."""

PYTHON = "python"
ABSENT = "absent"
VERSIONS = Path("versions.yaml")
"""Rendered with ``dvc.yaml``: the versions that DVC takes for those of the results."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_HEADER = "# Rendered by `make dag`: packages that compute, as installed; DVC depends on them.\n"


def unit_versions(modules: Iterable[str]) -> dict[str, str]:
    """Version by distribution of what a unit of these modules computes with."""
    return versions_of(packages_imported(modules))


def stage_distributions(module: str) -> list[str]:
    """Names in ``versions.yaml`` that a stage depends on, sorted."""
    return sorted(versions_of(stage_packages(module)))


def versions_of(imported: Iterable[str]) -> dict[str, str]:
    """Versions of the computing ones among the packages, of what they need, and of Python."""
    wanted: set[str] = set()
    waiting = [name for name in imported if name in COMPUTING]
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += [*_BROUGHT.get(name, ()), *_needed(COMPUTING[name])]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {PYTHON: python} | {COMPUTING[name]: _version(COMPUTING[name]) for name in wanted}


@functools.cache
def _needed(distribution: str) -> tuple[str, ...]:
    """Import names of the computing packages that a distribution requires."""
    try:
        lines = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return ()
    required = {_plain(match[0]) for line in lines if "extra ==" not in line
                if (match := _NAME.match(line))}  # fmt: skip
    return tuple(
        name
        for name, known in COMPUTING.items()
        if _plain(known) in required and name not in _FOR_ITSELF
    )


def _plain(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


@functools.cache
def _version(distribution: str) -> str:
    """Public version; builds of one version for CPU and GPU (``+cpu``) count as the same."""
    try:
        return metadata.version(distribution).partition("+")[0]
    except metadata.PackageNotFoundError:
        return ABSENT


def require_versions(wanted: Mapping[str, str]) -> None:
    """Before a unit runs: this process computes with the versions that the unit's key names.

    Raises
    ------
    MachineError
        ``other-packages``; nothing was run.
    """
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    imports = {known: name for name, known in COMPUTING.items()}
    for distribution, version in sorted(wanted.items()):
        here = python if distribution == PYTHON else _running(distribution, imports)
        if here != version:
            raise MachineError(
                "a worker computes with the package versions that the unit's key names",
                problem=f"{distribution} is {here} on this worker and {version} where the run "
                "was started",
                where=sys.prefix,
                remedy="install the same lock on all machines, start the workers "
                "anew and run the same command again: finished units are kept",
                code="other-packages",
            )


def _running(distribution: str, imports: Mapping[str, str]) -> str:
    """The loaded version where it is loaded: an upgrade beneath a live process changes nothing."""
    loaded = getattr(sys.modules.get(imports.get(distribution, "")), "__version__", None)
    installed = _version(distribution)
    return loaded.partition("+")[0] if isinstance(loaded, str) else installed


def rendered_versions(modules: Iterable[str]) -> str:
    """The text of ``versions.yaml`` for stages of these modules."""
    packages = frozenset[str]().union(*(stage_packages(module) for module in modules))
    return _HEADER + yaml.safe_dump(versions_of(packages), sort_keys=True)


def write_versions(modules: Iterable[str]) -> None:
    """Render ``versions.yaml`` in the working directory."""
    write_whole(VERSIONS, rendered_versions(modules))


def stale_versions(modules: Iterable[str]) -> bool:
    """Whether ``versions.yaml`` is absent or names other versions than are installed."""
    return not VERSIONS.is_file() or VERSIONS.read_text() != rendered_versions(modules)


def require_recorded(module: str) -> None:
    """Before a stage runs: DVC records the versions that it runs with.

    Raises
    ------
    UsageError
        ``versions-stale``.
    """
    installed = versions_of(stage_packages(module))
    recorded = _recorded()
    other = sorted(name for name, version in installed.items() if recorded.get(name) != version)
    if other:
        name = other[0]
        raise UsageError(
            "DVC depends on the versions of the packages that compute",
            problem=f"{name} {installed[name]} is installed, the file says "
            f"{recorded.get(name, 'nothing of it')}",
            where=str(VERSIONS),
            remedy="`make dag` writes what is installed, then `dvc repro` again (`synthct run` "
            "does both); or install the lock (`make setup`)",
            code="versions-stale",
        )


def _recorded() -> dict[str, str]:
    try:
        found = load_yaml(VERSIONS.read_text())
    except (FileNotFoundError, yaml.YAMLError):
        return {}
    return {str(name): str(version) for name, version in (found or {}).items()}
