"""What the generated pages are made from: the one place that names the project's modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import typer

from synthct.data.registry import Registry
from synthct.data.section import Section
from synthct.data.store.volumes import (
    read_displacement,
    read_volume,
    write_displacement,
    write_volume,
)
from synthct.flows.cli.app import commands
from synthct.tasks.chain.params import Params
from synthct.tasks.evaluation.baselines import BASELINES
from synthct.tasks.evaluation.checks import CHECKS
from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.export.shrink import SHRINKERS
from synthct.tasks.ingestion.guards import GUARDS
from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Batch, Loss, Network, Target
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.models.scalings import SCALINGS
from synthct.tasks.pretraining.objectives import OBJECTIVES
from synthct.tasks.reconstruction.methods import RECONSTRUCTION_METHODS
from synthct.tasks.registration.deformations import DEFORMATIONS
from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.similarities import SIMILARITIES
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step
from synthct.tasks.transport.harmonisers import HARMONISERS

COMMANDS: typer.Typer = commands
PARAMS: type[Section] = Params


@dataclass(frozen=True)
class RegistryPage:
    """A registry and the page that lists its members."""

    file: str
    title: str
    where: str
    """How a member is chosen in ``params.yaml`` or on the command line."""
    registry: Registry[Any]


REGISTRIES = (
    RegistryPage(
        "regularizers", "Regularizers",
        "`training.regularizers: [{name: NAME, weight: STRENGTH, ...}]`; those that act at "
        "`displacement` are penalties of the registration engine, "
        "`registration.method_options.penalties`",
        REGULARIZERS,
    ),
    RegistryPage(
        "losses", "Losses", "`training.losses: [{name: NAME, weight: STRENGTH, ...}]`", LOSSES
    ),
    RegistryPage(
        "objectives", "Objectives without labels",
        "`pretraining.objectives: [{name: NAME, weight: STRENGTH, ...}]`", OBJECTIVES,
    ),
    RegistryPage("networks", "Networks", "`training.network: {name: NAME, ...}`", NETWORKS),
    RegistryPage(
        "scalings", "Source scalings", "`training.mr.source_scaling: {kind: NAME}`", SCALINGS
    ),
    RegistryPage(
        "harmonisers", "Harmonisers",
        "`training.mr.source_scaling: {harmonise: {name: NAME, options: {...}}}`, or "
        "`synthct predict --harmonise NAME`", HARMONISERS,
    ),
    RegistryPage(
        "registration-methods", "Registration methods",
        "`registration.method: NAME`, or `synthct register --method NAME`", METHODS,
    ),
    RegistryPage(
        "similarities", "Similarities",
        "the registration methods of the same names; their options are those of the method",
        SIMILARITIES,
    ),
    RegistryPage(
        "deformations", "Deformation models",
        "`registration.method_options: {deformation: NAME}`, or "
        "`synthct register --option deformation=NAME`", DEFORMATIONS,
    ),
    RegistryPage(
        "reconstruction-methods", "Reconstruction methods", "`synthct reconstruct --method NAME`",
        RECONSTRUCTION_METHODS,
    ),
    RegistryPage(
        "shrinkers", "Smaller forms", "`export.shrink: [{name: NAME, ...}]`", SHRINKERS
    ),
    RegistryPage("metrics", "Image metrics", "`evaluation.metrics: [NAME, ...]`", METRICS),
    RegistryPage("checks", "Checks on scores", "`evaluation.checks: [NAME, ...]`", CHECKS),
    RegistryPage("baselines", "Baselines", "`evaluation.baselines: [NAME, ...]`", BASELINES),
    RegistryPage(
        "guards", "Ingestion guards",
        "every guard runs; `ingestion.guards: {NAME: {...}}` sets its limits", GUARDS,
    ),
)  # fmt: skip

PUBLIC: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Scans in and out", ("read", "write", "read_displacement")),
    (
        "Other libraries",
        ("from_numpy", "to_numpy", "from_sitk", "to_sitk", "from_nibabel", "to_nibabel"),
    ),
    ("Volumes", ("Volume", "Grid", "Displacement", "Modality")),
    ("Ingest", ("ingest", "Intake")),
    ("Reconstruct", ("reconstruct",)),
    ("Register", ("register", "Registration")),
    ("Predict", ("predict", "Prediction", "Interval")),
    ("Evaluate", ("evaluate",)),
    (
        "Errors",
        ("SynthctError", "DataError", "UsageError", "MachineError", "TooManyExcludedError"),
    ),
)
"""Names of ``synthct`` by section of the Python API page; the registries have pages of their own.
"""

INTERNAL: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("Writing a plug-in", (Registry, Regularizer, Step, Batch, Target, Loss, Network)),
    ("Stored volumes", (write_volume, read_volume, write_displacement, read_displacement)),
)
"""What the page describes besides, for those who extend the project."""
