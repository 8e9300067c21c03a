"""Metadata that make the release folder a MONAI bundle, without executable configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthct.data.files import canonical_json, write_whole
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.prediction.release import ReleaseDescription

METADATA = "configs/metadata.json"
README = "docs/README.md"


def write_bundle(out: Path, description: ReleaseDescription, card: Mapping[str, Any]) -> None:
    """Write ``configs/metadata.json`` and ``docs/README.md`` beside the weights.

    MONAI's tools read the metadata; weights are ``foldK.safetensors`` of the same folder. There
    is no ``inference.json``, because its expressions are executed.
    """
    write_whole(out / METADATA, canonical_json(_metadata(description, card)))
    write_whole(out / README, _readme(description, card))


def _metadata(description: ReleaseDescription, card: Mapping[str, Any]) -> dict[str, Any]:
    model = description.preprocessing
    licence = card["licence"]["of_the_data"]
    return {
        "version": "1.0.0",
        "changelog": {"1.0.0": "exported by synthct"},
        "monai_version": "1.6.1",
        "pytorch_version": "2.13.0",
        "numpy_version": "2.0",
        "name": card["name"],
        "task": f"synthetic CT from {model.source.upper()}",
        "description": card["intended_use"],
        "authors": "the synthct pipeline",
        "copyright": "",
        "data_source": f"{card['data']['dataset']}: {licence.get('name', '')}",
        "data_type": "ONNX, safetensors",
        "intended_use": " ".join([card["intended_use"], card["not_for_clinical_use"]]).strip(),
        "references": [licence["cite"]] if licence.get("cite") else [],
        "eval_metrics": _metrics(card["scores"]),
        "required_packages_version": {"onnxruntime": "1.32.0", "safetensors": "0.6"},
        "weights": [member.weights for member in description.members],
        "graphs": [member.onnx for member in description.members],
        "network_data_format": _data_format(model),
    }


def _metrics(scores: list[Mapping[str, Any]]) -> dict[str, float]:
    return {
        f"{row['metric']} ({row['reference']})": row["mean"]
        for row in scores
        if row["method"] == "model"
    }


def _data_format(model: ModelDescription) -> dict[str, Any]:
    flat = model.dimensions == "2.5d"
    free = [f"{model.divisor}*n"] * (2 if flat else 3)
    scaling = model.target_scaling
    image = {
        "type": "image",
        "num_channels": model.slices if flat else 1,
        "spatial_shape": free,
        "dtype": "float32",
        "value_range": [-1, 1] if model.source_scaling.kind in ("min_p99.5", "two_point") else [],
        "is_patch_data": True,
        "channel_def": {
            str(n): f"slice {n - model.slices // 2:+d}" if flat else "intensity"
            for n in range(model.slices if flat else 1)
        },
        "modality": model.source.upper(),
        "format": model.source_scaling.kind,
    }
    answer = {
        "type": "image",
        "format": f"HU from {scaling.low_hu:g} to {scaling.high_hu:g} as -1 to 1",
        "num_channels": 1,
        "spatial_shape": free,
        "dtype": "float32",
        "value_range": [-1, 1],
        "is_patch_data": True,
        "channel_def": {"0": "synthetic CT"},
        "modality": "CT",
    }
    return {"inputs": {"image": image}, "outputs": {"pred": answer}}


def _readme(description: ReleaseDescription, card: Mapping[str, Any]) -> str:
    rows = [
        f"| {row['metric']} | {row['reference']} | {row['mean']:g} | {row['n']} |"
        for row in card["scores"]
        if row["method"] == "model"
    ]
    caution = card["not_for_clinical_use"] or f"Cleared for: {card['cleared_for']}"
    return "\n".join(
        [
            f"# {card['name']}",
            "",
            caution,
            "",
            card["intended_use"],
            "",
            f"Licence of the data: {card['licence']['of_the_data'].get('name', '')}. "
            f"{card['licence']['propagates']}",
            "",
            "| metric | reference | mean over unseen cases | cases |",
            "|---|---|---|---|",
            *rows,
            "",
            *[f"* {caveat}" for caveat in card["caveats"]],
            "",
            f"{len(description.members)} networks; `model.json` says what is done to a scan before "
            "and after them, `card.html` the rest. `synthct predict --model .` runs them.",
            "",
        ]
    )
