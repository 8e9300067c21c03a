"""Score one unseen case: the network's prediction and the naive baselines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from synthct.data.files import canonical_json, copy_tree, write_whole
from synthct.data.store.volumes import read_volume
from synthct.tasks.evaluation.fitting import baselines_for
from synthct.tasks.evaluation.naive import Fitted, UnseenImages
from synthct.tasks.evaluation.pair import Mask
from synthct.tasks.evaluation.scorer import MOVED, Arrays, Scorer
from synthct.tasks.evaluation.stability import scores_under
from synthct.tasks.evaluation.uncertainty.case_summary import error_facts
from synthct.tasks.evaluation.uncertainty.likeness import features
from synthct.tasks.models.description import SourceScaling
from synthct.tasks.pipeline.artefacts import ERRORS, SCT, SCT_SD

CASE_SCORES = "scores.json"

WITHOUT_ANATOMY = ("constant",)
"""Methods whose output shows no anatomy; not compared with the source scan."""

IDENTITY = ("case", "patient", "source", "region", "synthetic", "verdict")
"""Keys of ``case.json`` that ``scores.json`` repeats."""


def score_case(
    *,
    out: Path,
    sct: Path,
    source: Path,
    mask: Path,
    ct: Path,
    unregistered_ct: Path,
    case: Path,
    fold: int,
    scaling: str,
    fits: dict[str, Any],
    plan: dict[str, Any],
    sd: Path | None = None,
    segmented: Path | None = None,
    truth_ct: Path | None = None,
    truth_labels: Path | None = None,
    labels: Path | None = None,
) -> None:
    """Unit: write ``scores.json`` and ``errors.json``, and a copy of the predicted ``sct.zarr``.

    Parameters
    ----------
    source, mask, ct, unregistered_ct, case
        The case's files of the registration stage.
    sct
        Prediction of the fold's network, which was not trained on this patient.
    scaling
        Normalisation of the network's source, used for the baselines too.
    fits
        Baselines fitted on the fold's training patients, by name.
    plan
        The section ``evaluation`` of the params, without what only the summary needs.
    sd
        Standard deviation over the flips [HU], with test-time augmentation only.
    segmented
        Label maps of the synthetic CT and its references, all by the same segmenter.
    truth_ct, truth_labels, labels
        Digital patients: CT and anatomy at the time of the source scan, and the labels' meaning.
    """
    facts = json.loads(case.read_text())
    scan, inside = read_volume(source), read_volume(mask).array > 0
    images = UnseenImages(
        scan.array,
        inside,
        SourceScaling.model_validate({"kind": scaling}),
        read_volume(unregistered_ct).array,
    )
    output, modality = read_volume(sct).array, facts["source"]
    methods: Arrays = {"model": output, **_naive(images, fits, modality)}
    copy_tree(sct, out / SCT)
    if sd is not None:
        copy_tree(sd, out / SCT_SD)
    doubt = why_not_scored(facts, plan)
    scorer = Scorer(inside, scan.grid.spacing_mm, plan)
    moved = read_volume(ct).array
    references: Arrays = {} if doubt else {"registered": moved}
    if not doubt:
        scorer.images("registered", moved, methods)
    if plan["source_consistency"]:
        compared = {n: hu for n, hu in methods.items() if n not in WITHOUT_ANATOMY}
        scorer.source(scan.array, modality, {**compared, MOVED: moved})
    if truth_ct is not None:
        truth = references["truth"] = read_volume(truth_ct).array
        methods[MOVED] = moved
        scorer.images("truth", truth, methods)
        if plan["segmenter"] == "thresholds" and truth_labels is not None and labels is not None:
            names = json.loads(labels.read_text())
            scorer.structures(read_volume(truth_labels).array, names, truth, methods)
    if segmented is not None:
        scorer.segmented(segmented, "" if doubt else "registered", moved, output)
    for reference in list(references.values())[:1]:  # the registered CT, else the true one
        scorer.checks(reference, output)
    stable: dict[str, Any] = {}
    if plan["stability"]:
        for reference in list(references.values())[:1]:
            stable = scores_under(reference, output, inside, scan.grid.spacing_mm, plan)
    document = {
        **{name: facts[name] for name in IDENTITY},
        "fold": fold,
        "not_scored_against_registered": doubt,
        "features": features(images, scan.grid.spacing_mm),
        **scorer.as_json(),
        **({"stability": stable} if stable else {}),
    }
    write_whole(out / CASE_SCORES, canonical_json(document))
    _write_errors(out, references, output, inside, sd)


def _write_errors(
    out: Path, references: Arrays, output: NDArray[Any], inside: Mask, sd: Path | None
) -> None:
    spread = None if sd is None else read_volume(sd).array
    errors = {name: error_facts(hu, output, inside, spread) for name, hu in references.items()}
    write_whole(out / ERRORS, canonical_json(errors))


def why_not_scored(facts: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """Why the moved CT cannot serve as the reference of this case; empty: it can."""
    verdict = facts["verdict"]
    if verdict == "fail":
        return "registration failed: the moved CT cannot serve as reference"
    if verdict == "suspect" and not plan["score_suspect"]:
        return "registration is suspect, and score_suspect is off"
    return ""


def _naive(images: UnseenImages, fits: Mapping[str, Fitted], modality: str) -> Arrays:
    return {
        name: baseline.predict(images, fits[name])
        for name, baseline in baselines_for(modality, list(fits)).items()
    }
