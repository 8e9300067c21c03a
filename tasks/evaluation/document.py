"""Versioned JSON schema of the document that ``synthct evaluate`` writes."""

from __future__ import annotations

from typing import Any

SCHEMA = "synthct-evaluation/1"
"""Version of the document. Fields may be added under it, but not renamed or removed."""

_FILE = {
    "type": "object",
    "description": "Name and content hash of a file or folder; never its path.",
    "properties": {
        "name": {"type": "string"},
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    },
    "required": ["name", "sha256"],
    "additionalProperties": False,
}
_SCORES = {
    "type": "object",
    "description": "Metric to value; null if undefined. The name ends with the unit.",
    "additionalProperties": {"type": ["number", "null"]},
}
_PER_SIDE = {
    "type": "object",
    "properties": {side: {"type": "object"} for side in ("prediction", "reference")},
}


def _object(description: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "description": description, "properties": properties}


def json_schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12), the same as ``docs/reference/evaluation.schema.json``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Scores of one synthetic CT against one reference CT",
        "type": "object",
        "required": [
            "schema", "prediction", "reference", "mask", "profile", "grid", "resampled", "voxels",
            "scores", "checks", "warnings",
        ],
        "properties": {
            "schema": {"const": SCHEMA},
            "prediction": _FILE,
            "reference": _FILE,
            "mask": {"anyOf": [_FILE, {"type": "null"}]},
            "profile": _object(
                "Intensity range of PSNR and MS-SSIM [HU].",
                name={"type": "string"}, low_hu={"type": "number"}, high_hu={"type": "number"},
            ),
            "grid": _object(
                "Grid of the reference, (z, y, x).",
                shape={"type": "array", "items": {"type": "integer"}},
                spacing_mm={"type": "array", "items": {"type": "number"}},
            ),
            "resampled": {"type": "boolean", "description": "If the prediction was resampled."},
            "voxels": {"type": "integer", "minimum": 1, "description": "Voxels in the mask."},
            "scores": _SCORES,
            "checks": {"type": "array", "items": _check()},
            "floor": _object(
                "Present if other alignments of the reference were given: its differences [HU].",
                references={"type": "array", "items": _FILE},
                floor_mae_hu={"type": ["number", "null"]},
                worst_mae_hu={"type": ["number", "null"]},
                pairs={"type": "object", "additionalProperties": _SCORES},
            ),
            "maps": {"type": "array", "items": {"type": "string"},
                     "description": "Files written to the folder of maps."},
            "structures": _structures(),
            "source": _object(
                "Present if the source or its segmentations were given: agreement with it.",
                scores=_SCORES,
            ),
            "dose": _dose(),
            "warnings": {"type": "array", "items": {"type": "string"}},
        },
    }  # fmt: skip


def _check() -> dict[str, Any]:
    properties = {
        "check": {"type": "string"},
        "value": {"type": ["number", "null"]},
        "limit": {"type": "number"},
        "unit": {"type": "string"},
        "suspect": {"type": "boolean"},
        "message": {"type": "string"},
    }
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def _structures() -> dict[str, Any]:
    return _object(
        "Present if segmentations or a segmenter were given.",
        found_by={
            "type": "string",
            "description": "files, thresholds, totalsegmentator, or a small segmenter's folder.",
        },
        policy={"enum": ["as_published", "penalised"]},
        tolerance_mm={"type": "number"},
        scores=_SCORES,
    )


def _dose() -> dict[str, Any]:
    return _object(
        "Present if doses were given.",
        prediction=_FILE,
        reference=_FILE,
        gamma_pass_percent=_SCORES,
        gamma_convention=_object(
            "How gamma was computed; figures are comparable only if these agree.",
            search={"enum": ["interpolated", "discrete"]},
            normalisation={"enum": ["global", "local"]},
            cutoff_percent={
                "type": "number",
                "description": "Lowest dose that is judged, in % of the maximum.",
            },
            steps={"type": "integer", "description": "Search steps within one distance criterion."},
        ),
        dvh=_PER_SIDE,
        conformity={"type": "object", "additionalProperties": {"type": ["number", "null"]}},
    )
