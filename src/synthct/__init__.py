"""Synthetic CT from MRI and cone-beam CT.

>>> import synthct
>>> sct = synthct.predict("release", "mr.nii.gz").sct
>>> sct.unit
'HU'

Importing the package is cheap: each name below is loaded when it is first used.

* scans: :func:`read`, :func:`write`, :func:`read_displacement`, and conversions from and to numpy,
  SimpleITK and nibabel; :class:`Volume`, :class:`Grid`, :class:`Displacement`, :class:`Modality`;
* work: :func:`ingest`, :func:`reconstruct`, :func:`register`, :func:`predict`, :func:`evaluate`;
* plug-ins by name: ``REGULARIZERS``, ``LOSSES``, ``NETWORKS``, ``METHODS``, ``SIMILARITIES``,
  ``DEFORMATIONS``, ``RECONSTRUCTION_METHODS``, ``METRICS``, ``CHECKS``, ``BASELINES``,
  ``GUARDS``; ``X.names()`` lists them;
* errors: :class:`SynthctError` with :class:`DataError`, :class:`UsageError`,
  :class:`MachineError`, :class:`TooManyExcludedError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synthct.api.evaluation import evaluate
    from synthct.api.intake import Intake, ingest
    from synthct.api.prediction import Interval, Prediction, predict
    from synthct.api.reconstruction import reconstruct
    from synthct.api.registration import Registration, register
    from synthct.api.scans import (
        from_nibabel,
        from_numpy,
        from_sitk,
        read,
        read_displacement,
        to_nibabel,
        to_numpy,
        to_sitk,
        write,
    )
    from synthct.data.errors import (
        DataError,
        MachineError,
        SynthctError,
        TooManyExcludedError,
        UsageError,
    )
    from synthct.data.volume import Displacement, Grid, Modality, Volume
    from synthct.tasks.evaluation.baselines import BASELINES
    from synthct.tasks.evaluation.checks import CHECKS
    from synthct.tasks.evaluation.metrics import METRICS
    from synthct.tasks.export.shrink import SHRINKERS
    from synthct.tasks.ingestion.guards import GUARDS
    from synthct.tasks.losses import LOSSES
    from synthct.tasks.models.networks import NETWORKS
    from synthct.tasks.reconstruction.methods import RECONSTRUCTION_METHODS
    from synthct.tasks.registration.deformations import DEFORMATIONS
    from synthct.tasks.registration.methods import METHODS
    from synthct.tasks.registration.similarities import SIMILARITIES
    from synthct.tasks.regularization import REGULARIZERS

    __version__: str

__all__ = [
    "BASELINES", "CHECKS", "DEFORMATIONS", "GUARDS", "LOSSES", "METHODS", "METRICS", "NETWORKS",
    "RECONSTRUCTION_METHODS", "REGULARIZERS", "SHRINKERS", "SIMILARITIES", "DataError",
    "Displacement", "Grid", "Intake", "Interval", "MachineError", "Modality", "Prediction",
    "Registration", "SynthctError", "TooManyExcludedError", "UsageError", "Volume", "__version__",
    "evaluate", "from_nibabel", "from_numpy", "from_sitk", "ingest", "predict", "read",
    "read_displacement", "reconstruct",
    "register", "to_nibabel", "to_numpy", "to_sitk", "write",
]  # fmt: skip

_NAMES = {
    "api.evaluation": ("evaluate",),
    "api.intake": ("Intake", "ingest"),
    "api.prediction": ("Interval", "Prediction", "predict"),
    "api.reconstruction": ("reconstruct",),
    "api.registration": ("Registration", "register"),
    "api.scans": (
        "from_nibabel", "from_numpy", "from_sitk", "read", "read_displacement", "to_nibabel",
        "to_numpy", "to_sitk", "write",
    ),
    "data.errors": (
        "DataError", "MachineError", "SynthctError", "TooManyExcludedError", "UsageError",
    ),
    "data.volume": ("Displacement", "Grid", "Modality", "Volume"),
    "tasks.evaluation.baselines": ("BASELINES",),
    "tasks.evaluation.checks": ("CHECKS",),
    "tasks.evaluation.metrics": ("METRICS",),
    "tasks.export.shrink": ("SHRINKERS",),
    "tasks.ingestion.guards": ("GUARDS",),
    "tasks.losses": ("LOSSES",),
    "tasks.models.networks": ("NETWORKS",),
    "tasks.reconstruction.methods": ("RECONSTRUCTION_METHODS",),
    "tasks.registration.deformations": ("DEFORMATIONS",),
    "tasks.registration.methods": ("METHODS",),
    "tasks.registration.similarities": ("SIMILARITIES",),
    "tasks.regularization": ("REGULARIZERS",),
}  # fmt: skip
"""Modules of the public names. They repeat the imports above, which are under ``TYPE_CHECKING`` and
never executed; a test compares the two."""

if not TYPE_CHECKING:  # a type checker that sees __getattr__ accepts any misspelt name

    def __getattr__(name: str) -> object:
        value = _version() if name == "__version__" else _loaded(name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


def _loaded(name: str) -> object:
    """Import a public name from its module."""
    import importlib

    for module, names in _NAMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)


def _version() -> str:
    """Version of the installed distribution; a source folder on the path has none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("synthct")
    except PackageNotFoundError:
        return "0+not.installed"
