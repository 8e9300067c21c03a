"""Third-party packages that compute results, and their versions: part of every key."""

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
from synthct.data.yaml_text import dump_yaml, load_yaml
from synthct.tasks.pipeline.code import CodeGraph, packages_imported, source_root

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
    {"cryptography", "dask", "distributed", "fsspec", "markupsafe", "nibabel", "numba"}
    | {"psutil", "pydantic", "s3fs", "tensorboard", "threadpoolctl", "yaml"}
)
"""Packages that transport, check or monitor results; their versions are in no key. numba compiles
the projector of reconstructions, whose units have its version among their arguments."""

_OPTIONAL = {"pydicom": ("gdcm",), "torch": ("numpy",), "onnx": ("onnxscript",)}
"""Packages that a package calls without requiring them: pydicom decodes pixels with gdcm."""

_DIRECT_ONLY = frozenset({"jinja2", "PIL", "matplotlib"})
"""Pages and pictures: they count where this project imports them, not where a library may."""

PYTHON = "python"
ABSENT = "absent"
VERSIONS = Path("versions.yaml")
"""Rendered with ``dvc.yaml``: the versions on which the results depend in DVC."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_HEADER = "# Rendered by `make dag`: packages that compute, as installed; DVC depends on them.\n"


def unit_versions(modules: Iterable[str]) -> dict[str, str]:
    """Version by distribution of the packages with which a unit of these modules computes."""
    return versions_of(packages_imported(modules))


def stage_distributions(module: str, graph: CodeGraph) -> list[str]:
    """Names in ``versions.yaml`` that a stage depends on, sorted."""
    return sorted(versions_of(graph.stage_packages(module)))


def versions_of(imported: Iterable[str]) -> dict[str, str]:
    """Versions of Python, of the computing packages among these, and of their requirements."""
    wanted: set[str] = set()
    waiting = [name for name in imported if name in COMPUTING]
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += [*_OPTIONAL.get(name, ()), *_needed(COMPUTING[name])]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {PYTHON: python} | {COMPUTING[name]: _version(COMPUTING[name]) for name in wanted}


@functools.cache
def _needed(distribution: str) -> tuple[str, ...]:
    """Import names of the computing packages that a distribution requires."""
    try:
        lines = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return ()
    required = {_normalised(match[0]) for line in lines if "extra ==" not in line
                if (match := _NAME.match(line))}  # fmt: skip
    return tuple(
        name
        for name, known in COMPUTING.items()
        if _normalised(known) in required and name not in _DIRECT_ONLY
    )


def _normalised(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


@functools.cache
def _version(distribution: str) -> str:
    """Public version; builds of one version for CPU and GPU (``+cpu``) are the same."""
    try:
        return metadata.version(distribution).partition("+")[0]
    except metadata.PackageNotFoundError:
        return ABSENT


def require_versions(wanted: Mapping[str, str]) -> None:
    """Require, before a unit runs, that this process has the package versions in the unit's key.

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
                f"{distribution} is {here} on this worker and {version} where the run was started",
                rule="a worker has the package versions that are part of the keys of its results",
                where=sys.prefix,
                remedy="install the same file of locks/ on all machines, restart the workers "
                "and run the same command again: finished results are kept",
                code="other-packages",
            )


def _running(distribution: str, imports: Mapping[str, str]) -> str:
    """The imported version if it is imported: an upgrade does not change a running process."""
    loaded = getattr(sys.modules.get(imports.get(distribution, "")), "__version__", None)
    installed = _version(distribution)
    return loaded.partition("+")[0] if isinstance(loaded, str) else installed


def rendered_versions(modules: Iterable[str], graph: CodeGraph) -> str:
    """The text of ``versions.yaml`` for stages of these modules."""
    packages = frozenset[str]().union(*(graph.stage_packages(module) for module in modules))
    return _HEADER + dump_yaml(versions_of(packages), sort_keys=True)


def write_versions(modules: Iterable[str], graph: CodeGraph) -> None:
    """Render ``versions.yaml`` in the working directory."""
    write_whole(VERSIONS, rendered_versions(modules, graph))


def stale_versions(modules: Iterable[str], graph: CodeGraph) -> bool:
    """Whether ``versions.yaml`` is absent or names other versions than are installed."""
    return not VERSIONS.is_file() or VERSIONS.read_text() != rendered_versions(modules, graph)


def require_recorded(module: str) -> None:
    """Require, before a stage runs, that ``versions.yaml`` records the installed versions.

    Raises
    ------
    UsageError
        ``versions-stale``.
    """
    installed = versions_of(CodeGraph(source_root()).stage_packages(module))
    recorded = _recorded()
    other = sorted(name for name, version in installed.items() if recorded.get(name) != version)
    if other:
        name = other[0]
        raise UsageError(
            f"{name} {installed[name]} is installed, the file records "
            f"{recorded.get(name, 'no version')}",
            rule="DVC depends on the versions of the packages that compute",
            where=str(VERSIONS),
            remedy="run `make dag` to record the installed versions, then `dvc repro` (`synthct "
            "run` does both), or install the lock file of locks/",
            code="versions-stale",
        )


def _recorded() -> dict[str, str]:
    try:
        found = load_yaml(VERSIONS.read_text())
    except (FileNotFoundError, yaml.YAMLError):
        return {}
    return {str(name): str(version) for name, version in (found or {}).items()}
