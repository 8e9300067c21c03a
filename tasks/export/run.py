"""The export stage: one release folder per source."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synthct.data.files import canonical_json, write_whole
from synthct.data.tables import read_table
from synthct.tasks.export.card_facts import gather_facts, used_cases
from synthct.tasks.export.gate import Gate, Row, apply_gate
from synthct.tasks.export.intervals import plan_calibration
from synthct.tasks.export.params import ExportParams
from synthct.tasks.export.release import release_source
from synthct.tasks.export.shrink import SHRINKERS
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.models.normalise import scaling_modules
from synthct.tasks.pipeline.artefacts import DATASET, FOLDS, MODEL, REFUSED, SCORES, SUMMARY
from synthct.tasks.pipeline.code import code_hash
from synthct.tasks.pipeline.events import emit
from synthct.tasks.pipeline.stage import EXCLUDED, StageContext, Unit, build_out, run_units
from synthct.tasks.training.plugins import networks_of

STAGE = "export"


def run(context: StageContext, params: ExportParams) -> None:
    """The folds of a source are released as one ensemble if parity and the score gate hold."""
    folds = json.loads((context.artefact("training") / FOLDS).read_text())
    scores = read_table(context.artefact("evaluation") / SCORES)
    summary = json.loads((context.artefact("evaluation") / SUMMARY).read_text())
    gates = {source: apply_gate(summary, source, params.gate) for source in folds}
    code = code_hash([__name__])
    with build_out(context, STAGE) as out:
        units = [
            _unit(context, params, source, folds[source], scores, gates[source], code)
            for source in sorted(folds)
        ]
        good = run_units(context, STAGE, out, units)
        _list_refused(out, good)


def _unit(
    context: StageContext,
    params: ExportParams,
    source: str,
    folds: Sequence[dict[str, Any]],
    scores: Sequence[Row],
    gate: Gate,
    code: str,
) -> Unit:
    training, registration = context.artefact("training"), context.artefact("registration")
    present = [k for k in range(len(folds)) if (training / f"{source}_fold{k}" / MODEL).is_file()]
    names = [f"{source}_fold{k}" for k in present]
    inputs: dict[str, Path] = {}
    for k in present:
        inputs[f"fold{k}"] = training / f"{source}_fold{k}"
        inputs[f"case{k}"] = registration / _unseen(folds[k])
    cases = used_cases([folds[k] for k in present])
    for number, case in enumerate(_trained_on([folds[k] for k in present], params.domain_cases)):
        inputs[f"seen{number:03d}"] = registration / case
    if params.distil is not None and present:
        for number, case in enumerate(folds[present[0]]["test"]):
            inputs[f"held{number:03d}"] = registration / case
    tested = [case for k in present for case in folds[k]["test"]]
    calibration = plan_calibration(
        context.artefact("evaluation"), source, tested, params.gate.reference, context.seed
    )
    for number, file in enumerate(calibration[1] if calibration else []):
        inputs[f"errors{number:03d}"] = file
    refusal = gate.refusal(source)
    facts = gather_facts(context, params, source, names, cases, scores, dict(context.methods), code)
    return Unit(
        name=source,
        function=release_source,
        inputs=inputs,
        arguments={
            "source": source,
            "params": params.as_json(),
            "facts": {**facts, "gate": gate.as_json()},
            "ingestion": _ingestion(context),
            "refusal": None if refusal is None else refusal.as_json(),
            "seed": context.seed,
            "calibration": calibration[0].as_json() if calibration else None,
        },
        plugins=tuple(
            sorted(
                {one for name in names for one in _modules(training / name)}
                | {SHRINKERS.module_of(entry.name) for entry in params.shrink}
            )
        ),
        gpu=params.distil is not None,
    )


def _trained_on(folds: Sequence[dict[str, Any]], most: int) -> list[str]:
    """Training cases of any fold: all, or about ``most`` of them evenly spaced by name."""
    names = used_cases([{"train": fold["train"]} for fold in folds])
    step = max(1, -(-len(names) // most))
    return names[::step]


def _ingestion(context: StageContext) -> dict[str, Any]:
    dataset = json.loads((context.artefact("ingestion") / DATASET).read_text())
    return dict(dataset.get("ingestion", {}))


def _unseen(fold: dict[str, Any]) -> str:
    """A case that the fold's network was not trained on, if there is one."""
    return str([*fold["test"], *fold["validation"], *fold["train"]][0])


def _modules(fold: Path) -> list[str]:
    """Modules of the fold's source scaling, of its network and of the one this is built around."""
    model = ModelDescription.load(fold / MODEL)
    networks = [NETWORKS.module_of(entry.name) for entry in networks_of(model.network)]
    return [*networks, *scaling_modules(model.source_scaling)]


def _list_refused(out: Path, sources: Sequence[str]) -> None:
    """Add the refused releases to ``excluded.json``, like other exclusions."""
    rows = json.loads((out / EXCLUDED).read_text())
    for source in sources:
        if (out / source / REFUSED).is_file():
            row = {"unit": source, **json.loads((out / source / REFUSED).read_text())}
            rows.append(row)
            emit("excluded", stage=STAGE, **row)
    write_whole(out / EXCLUDED, canonical_json(rows))
