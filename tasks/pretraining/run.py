"""The pretraining stage: networks trained on the scans of the training side of each fold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from synthct.data.errors import UsageError
from synthct.data.registry import Registry
from synthct.data.volume import Modality
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.models.normalise import scaling_modules
from synthct.tasks.pipeline.artefacts import PATIENT
from synthct.tasks.pipeline.stage import StageContext, Unit, build_out, run_units
from synthct.tasks.pretraining.fit import STAGE, pretrain, without_law
from synthct.tasks.pretraining.network import make_learner
from synthct.tasks.pretraining.objectives import OBJECTIVES
from synthct.tasks.pretraining.params import PretrainingParams
from synthct.tasks.pretraining.torchscript import scripted
from synthct.tasks.registration.params import RegistrationParams
from synthct.tasks.training.params import PlugIn, Source, TrainingParams
from synthct.tasks.training.plugins import networks_of
from synthct.tasks.training.run import Plan, plans_of

MODALITY = {"mr": Modality.MR, "cbct": Modality.CBCT}


def run(context: StageContext, params: PretrainingParams) -> None:
    """Networks were trained without labels on the unpaired scans of the training patients of each fold.

    Writes ``SOURCE_foldK/`` (``features.pt``, ``pretrained.json``, ``weights.safetensors``,
    ``history.csv``).
    """  # noqa: E501
    training = context.section("training", TrainingParams)
    check(params, training)
    spacing_mm = context.section("registration", RegistrationParams).grid_spacing_mm
    plans, unfit = plans_of(context, training)
    units = [_unit(context, plan, params, training, spacing_mm) for plan in plans]
    with build_out(context, STAGE) as out:
        run_units(context, STAGE, out, units, also_excluded=unfit)


def check(
    params: PretrainingParams, training: TrainingParams, *, where: str = "params.yaml: pretraining"
) -> None:
    """Check objectives, network, layers and sizes before any work.

    Raises
    ------
    UsageError
        ``pretraining-params``: everything that is wrong, in one error.
    """
    problems = list(_problems(params, training))
    if problems:
        raise UsageError("; ".join(problems), where=where, code="pretraining-params")


def _problems(params: PretrainingParams, training: TrainingParams) -> Iterator[str]:
    for number, entry in enumerate(params.objectives):
        yield from _wrong(OBJECTIVES, entry, f"objectives[{number}]")
    for source in training.sources:
        plan = training.of_source(source)
        chosen = params.chosen(plan)
        if wrong := list(_wrong(NETWORKS, chosen, "network")):
            yield from wrong
            return
        network = NETWORKS.build(chosen.name, chosen.options)
        size = params.patch_size or plan.recipe(source).patch_size
        axes = 2 if network.dimensions == "2.5d" else 3
        if len(size) != axes or any(length % network.divisor for length in size):
            yield (
                f"patch_size: {chosen.name!r} takes {axes} multiples of {network.divisor} for "
                f"{source}, got {list(size)}"
            )
            continue
        if all(length == network.divisor for length in size):
            yield f"patch_size: one axis is at least {2 * network.divisor}, got {list(size)}"
            continue
        if any(length <= 2 * params.views.shift_voxels for length in size):
            yield f"views.shift_voxels: half of a view of {list(size)} voxels is not common"
        least = [2 * network.divisor] * axes
        try:
            with torch.random.fork_rng(devices=[]):
                trunk = make_learner(network, params.layers, least, 2).student.trunk
                scripted(trunk, slices=network.slices, flat=axes == 2, divisor=network.divisor)
        except UsageError as error:
            yield str(error)


def _wrong(registry: Registry[Any], entry: PlugIn, where: str) -> Iterator[str]:
    try:
        registry.build(entry.name, entry.options, where=where)
    except UsageError as error:
        yield str(error)


def _unit(
    context: StageContext,
    plan: Plan,
    params: PretrainingParams,
    training: TrainingParams,
    spacing_mm: tuple[float, float, float],
) -> Unit:
    own = training.of_source(plan.source)
    modules = {OBJECTIVES.module_of(entry.name) for entry in params.objectives}
    modules |= {NETWORKS.module_of(e.name) for e in networks_of(params.chosen(own).as_json())}
    modules |= set(scaling_modules(without_law(own.recipe(plan.source).source_scaling)))
    return Unit(
        name=plan.name,
        function=pretrain,
        inputs=dict(unpaired(context.artefact("ingestion"), plan.source, plan.held_out)),
        arguments={
            "unit": plan.name,
            "source": plan.source,
            "seed": context.seed,
            "spacing_mm": list(spacing_mm),
            "params": params.as_json(),
            "training": {
                "sources": [plan.source], "network": training.network.as_json(),
                plan.source: training.recipe(plan.source).as_json(),
                "target_scaling": training.target_scaling.as_json(),
            },
        },
        plugins=tuple(sorted(modules)),
        gpu=params.device != "cpu",
    )  # fmt: skip


def unpaired(ingested: Path, source: Source, held_out: set[str]) -> Iterator[tuple[str, Path]]:
    """Scans of the source and CTs with their bodies, of all patients that are not held out.

    Patients without a usable pair are among them: no fold tests them.
    """
    for file in sorted(ingested.glob(f"*/{PATIENT}")):
        facts = json.loads(file.read_text())
        if facts["patient"] in held_out:
            continue
        for name, scan in sorted(facts["scans"].items()):
            if Modality(scan["modality"]) in (MODALITY[source], Modality.CT):
                for part in (name, f"{name}_body"):
                    yield f"{facts['patient']}/{part}", file.parent / f"{part}.zarr"
