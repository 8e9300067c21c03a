"""What the generated pages are made from: the one place that names the project's modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import typer

from synthct.data.itk import from_itk, resample, to_itk
from synthct.data.readers import describe, find, read_scan
from synthct.data.registry import Registry
from synthct.data.section import Section
from synthct.data.store.volumes import (
    read_displacement,
    read_volume,
    write_displacement,
    write_volume,
)
from synthct.data.volume import Displacement, Grid, Modality, Volume
from synthct.data.writers import write_displacement_image, write_image
from synthct.flows.cli.app import commands
from synthct.tasks.chain.params import Params
from synthct.tasks.evaluation.baselines import BASELINES
from synthct.tasks.evaluation.checks import CHECKS
from synthct.tasks.evaluation.files import evaluate_files
from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.ingestion.guards import GUARDS
from synthct.tasks.intake.plan import plan_intake
from synthct.tasks.intake.write import take_in
from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Batch, Loss, Network, Target
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.prediction.predict import predict_file
from synthct.tasks.registration.deformations import DEFORMATIONS
from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.pair import register_files
from synthct.tasks.registration.similarities import SIMILARITIES
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step

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
    RegistryPage("networks", "Networks", "`training.network: {name: NAME, ...}`", NETWORKS),
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
    RegistryPage("metrics", "Image metrics", "`evaluation.metrics: [NAME, ...]`", METRICS),
    RegistryPage("checks", "Checks on scores", "`evaluation.checks: [NAME, ...]`", CHECKS),
    RegistryPage("baselines", "Baselines", "`evaluation.baselines: [NAME, ...]`", BASELINES),
    RegistryPage(
        "guards", "Ingestion guards",
        "every guard runs; `ingestion.guards: {NAME: {...}}` sets its limits", GUARDS,
    ),
)  # fmt: skip

API: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("Volumes", (Volume, Grid, Displacement, Modality)),
    ("Reading scans", (read_scan, describe, find)),
    ("Writing images", (write_image, write_displacement_image)),
    ("SimpleITK", (to_itk, from_itk, resample)),
    ("Stored volumes", (write_volume, read_volume, write_displacement, read_displacement)),
    ("From files to files", (plan_intake, take_in, register_files, predict_file, evaluate_files)),
    ("Writing a plug-in", (Registry, Regularizer, Step, Batch, Target, Loss, Network)),
)
"""What the Python API page describes, in its order."""
