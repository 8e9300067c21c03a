"""The scores of one case: every method against every reference, and how far references differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.checks import examine
from synthct.tasks.evaluation.consistency import SourceAnatomy
from synthct.tasks.evaluation.evidence import Evidence, Finding
from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.pair import Mask, Measured, masked_pair
from synthct.tasks.evaluation.profiles import profile_called
from synthct.tasks.evaluation.segmenter.unit import ANATOMY, FOUND, read_structures
from synthct.tasks.evaluation.structures.completeness import completeness
from synthct.tasks.evaluation.structures.scores import (
    by_labels,
    by_threshold,
    compare_structures,
    errors_within,
    volumes,
)

SCHEMA = "synthct-scores/1"

CEILING, MOVED = "ceiling", "registered"
"""Methods that are not compared with the model: the true CT under the same thresholds (the best
that a segmentation of an sCT can reach), and the moved CT scored against the truth (the resolution
of scores against it)."""

SEGMENTATION = "HU thresholds, not anatomy; the ceiling is the true CT under the same thresholds"

SEGMENTED_BY = {
    "small": "the small segmenter, trained on the fold's training patients and frozen; the "
    "ceiling is its own accuracy on the true CT",
    "totalsegmentator": "TotalSegmentator on the sCT and on its references alike",
}

MIN_CEILING = 0.5
"""Dice of the segmenter on the true CT below which a structure is not scored on the sCT."""

IMAGES = ("sct", "ct", "truth_ct", ANATOMY)

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Row:
    """One score of the case."""

    method: str
    reference: str
    metric: str
    value: float | None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**vars(self), "value": None if self.value is None else _digits(self.value)}


class Scorer:
    """Collects the rows and warnings of one case."""

    def __init__(
        self, inside: Mask, spacing_mm: tuple[float, float, float], plan: Mapping[str, Any]
    ) -> None:
        self.inside, self.spacing_mm, self.plan = inside, spacing_mm, plan
        self.rows: list[Row] = []
        self.warnings: list[str] = []
        self.segmentation = ""
        self.findings: list[Finding] = []

    def images(self, reference: str, truth: NDArray[Any], methods: Arrays) -> None:
        """Every image metric of every method against one reference."""
        profile = profile_called(self.plan["profile"])
        for method, hu in methods.items():
            pair = masked_pair(truth, hu, self.inside, profile=profile, spacing_mm=self.spacing_mm)
            for name in self.plan["metrics"]:
                options = self.plan["metric_options"].get(name, {})
                self._take(method, reference, METRICS.build(name, options)(pair))

    def checks(self, truth: NDArray[Any], hu: NDArray[Any]) -> None:
        """Whether the scores of one output against one reference can be believed."""
        profile = profile_called(self.plan["profile"])
        pair = masked_pair(truth, hu, self.inside, profile=profile, spacing_mm=self.spacing_mm)
        evidence = Evidence(pair, truth.astype(np.float64))
        self.findings = examine(evidence, self.plan["checks"], self.plan["check_options"])

    def source(self, source: NDArray[Any], modality: str, methods: Arrays) -> None:
        """Agreement of each output with the anatomy of the source scan; no CT is used."""
        anatomy = SourceAnatomy(source, self.inside, modality=modality, spacing_mm=self.spacing_mm)
        for method, hu in methods.items():
            self._take(method, "source", anatomy.compare(hu))

    def structures(
        self,
        labels: NDArray[Any],
        names: Mapping[str, Mapping[str, str]],
        truth: NDArray[Any],
        methods: Arrays,
    ) -> None:
        """Overlap with the true structures, the error inside them, and the ceiling."""
        anatomy = by_labels(labels, self.inside, self.plan["structures"], names)
        self.segmentation = SEGMENTATION
        for method, hu in {**methods, CEILING: truth}.items():
            found = by_threshold(hu, self.inside, self.plan["structures"])
            self._take(method, "truth", volumes(anatomy, found, spacing_mm=self.spacing_mm))
            overlap = compare_structures(
                anatomy,
                found,
                spacing_mm=self.spacing_mm,
                policy=self.plan["missing_structures"],
                surfaces=self.plan["surface_distances"],
                tolerance_mm=self.plan["surface_tolerance_mm"],
            )
            self._take(method, "truth", overlap)
            if method != CEILING:
                self._take(method, "truth", errors_within(truth, hu, anatomy))

    def segmented(
        self, folder: Path, reference: str, moved: NDArray[Any], hu: NDArray[Any]
    ) -> None:
        """The model's structures found by a segmenter, and the segmenter's own accuracy (ceiling).

        They are compared with the structures that the same segmenter finds on the moved CT, and
        with the true labels (without those, with its structures on the true CT). ``reference`` is
        empty where the moved CT cannot serve as a reference.
        """
        description = json.loads((folder / FOUND).read_text())
        self.segmentation = SEGMENTED_BY[description["segmenter"]]
        found = {name: self._cut(read_structures(folder, name)) for name in IMAGES}
        if found[ANATOMY]:
            self._drop_unreliable(found)
        if reference and found["ct"]:
            self._anatomy(reference, "model", found["ct"], found["sct"])
            self._take("model", reference, errors_within(moved, hu, found["ct"]))
        known = found[ANATOMY] or found["truth_ct"]
        if known:
            self._anatomy("truth", "model", known, found["sct"])
            self._anatomy("truth", MOVED, known, found["ct"])

    def _drop_unreliable(self, found: dict[str, dict[str, Mask]]) -> None:
        """Drop structures that the segmenter does not even find on the true CT."""
        own = compare_structures(
            found[ANATOMY], found["truth_ct"], spacing_mm=self.spacing_mm, surfaces=False
        )
        self._take(CEILING, "truth", own)
        for name in list(found[ANATOMY]):
            ceiling = own.values.get(f"dice_{name}")
            if ceiling is None or ceiling < MIN_CEILING:
                for structures in found.values():
                    structures.pop(name, None)
            if ceiling is not None and ceiling < MIN_CEILING:
                self.warnings.append(
                    f"{name}: not scored, Dice of the segmenter on the true CT is {ceiling:.2f}"
                )

    def _cut(self, structures: dict[str, Mask]) -> dict[str, Mask]:
        return {name: mask & self.inside for name, mask in structures.items()}

    def _anatomy(
        self, reference: str, method: str, known: dict[str, Mask], found: dict[str, Mask]
    ) -> None:
        near = {"spacing_mm": self.spacing_mm, "tolerance_mm": self.plan["surface_tolerance_mm"]}
        overlap = compare_structures(
            known, found, policy=self.plan["missing_structures"],
            surfaces=self.plan["surface_distances"], **near,
        )  # fmt: skip
        self._take(method, reference, overlap)
        self._take(method, reference, completeness(known, found, **near))
        self._take(method, reference, volumes(known, found, spacing_mm=self.spacing_mm))

    def as_json(self) -> dict[str, Any]:
        """The measured part of ``scores.json``."""
        return {
            "schema": SCHEMA,
            "profile": profile_called(self.plan["profile"]).as_json(),
            "voxels": int(self.inside.sum()),
            "scores": [row.as_json() for row in self.rows],
            "checks": [finding.as_json() for finding in self.findings],
            "registration_bias": registration_bias(self.rows),
            "segmentation": self.segmentation,
            "warnings": self.warnings,
        }

    def _take(self, method: str, reference: str, measured: Measured) -> None:
        self.rows += [Row(method, reference, *item) for item in measured.values.items()]
        self.warnings += [f"{method} / {reference}: {text}" for text in measured.warnings]


def registration_bias(rows: list[Row]) -> dict[str, Any]:
    """Score against the moved CT minus score against the truth, by metric and method.

    ``reference_mae_hu`` is the MAE of the moved CT itself against the truth [HU]. Empty unless the
    case has both references.
    """
    truth = {(row.method, row.metric): row.value for row in rows if row.reference == "truth"}
    bias: dict[str, dict[str, float]] = {}
    for row in rows:
        other = truth.get((row.method, row.metric))
        if row.reference == "registered" and row.value is not None and other is not None:
            bias.setdefault(row.metric, {})[row.method] = _digits(row.value - other)
    floor = truth.get((MOVED, "mae_hu"))
    if not bias or floor is None:
        return {}
    return {"reference_mae_hu": _digits(floor), "registered_less_truth": bias}


def _digits(value: float) -> float:
    """Round to nine digits: the others depend on the processor's order of summation."""
    return float(f"{value:.9g}")
