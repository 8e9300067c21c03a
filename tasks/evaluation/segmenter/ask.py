"""Structures of one CT by a named segmenter, for files without segmentations."""

from __future__ import annotations

from pathlib import Path

from synthct.data.errors import UsageError
from synthct.data.volume import Volume
from synthct.tasks.evaluation.pair import Mask
from synthct.tasks.evaluation.params import EvaluationParams
from synthct.tasks.evaluation.segmenter.total import require_total_segmentator, total_segmentator
from synthct.tasks.evaluation.structures.scores import by_threshold
from synthct.tasks.pipeline.artefacts import WEIGHTS

THRESHOLDS, TOTAL = "thresholds", "totalsegmentator"


def check_segmenter(segmenter: str) -> None:
    """Raise :class:`UsageError` unless the segmenter exists and is installed."""
    if segmenter == TOTAL:
        require_total_segmentator()
    elif segmenter != THRESHOLDS and not _is_small(Path(segmenter)):
        raise UsageError(
            f"there is no segmenter {segmenter!r}",
            rule="a segmenter is thresholds, totalsegmentator, or the folder of a trained "
            "small one",
            where="--segmenter",
            remedy="a run with evaluation.segmenter: small writes such folders to "
            "artefacts/evaluation/segmenters",
            code="segmenter-unknown",
        )


def structures_of(ct: Volume, inside: Mask, segmenter: str) -> dict[str, Mask]:
    """``{structure: mask}`` (Z, Y, X) of a CT [HU], cut to ``inside``."""
    if segmenter == THRESHOLDS:
        rules = EvaluationParams().as_json()["structures"]
        return by_threshold(ct.array, inside, rules)
    if segmenter == TOTAL:
        labels, names = total_segmentator(ct)
        return {name: (labels == int(value)) & inside for value, name in names.items()}
    # Imports torch, which only the small segmenter needs.
    from synthct.tasks.evaluation.segmenter.fit import load_segmenter
    from synthct.tasks.evaluation.segmenter.network import segment

    network, classes = load_segmenter(Path(segmenter))
    found = segment(network, ct.array, inside)
    return {name: found == value for value, name in enumerate(classes, 1)}


def _is_small(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("names.json", WEIGHTS))
