"""One trial: a network trained on one fold of one set of pairs, its test cases scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthct.data.files import canonical_json, write_whole
from synthct.data.store.volumes import read_volume
from synthct.data.temporary import temporary_folder
from synthct.data.volume import Volume
from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.pair import masked_pair
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.sliding import predict
from synthct.tasks.pipeline.artefacts import HISTORY, MODEL
from synthct.tasks.study.outcomes import PredictedCase, measured, thinned, wrong_hu
from synthct.tasks.study.params import Outcome
from synthct.tasks.training.cases import ARRAYS
from synthct.tasks.training.fit import FitArguments, fit
from synthct.tasks.training.runner import torch_runner

TRIAL = "trial.json"


def trial(
    *,
    out: Path,
    scratch: Path,
    fitting: FitArguments,
    references: Sequence[str],
    metrics: Sequence[str],
    outcomes: Sequence[Outcome] = (),
    noise_seed: int = 0,
    learned_from: Sequence[str] = (),
    **files: Path,
) -> None:
    """Unit: train, score, and write ``trial.json`` and ``history.csv``; the weights are not kept.

    Parameters
    ----------
    fitting
        How the network is trained; ``split["test"]`` lists the cases that are scored.
    references
        Names of the references of test cases.
    metrics
        Registered image metrics.
    outcomes, noise_seed
        What is measured beside them, against the first reference, and the seed of the noise that
        is added to sources for it.
    learned_from
        Training cases on which ``wrong_hu`` is measured.
    files
        ``CASE/source``, ``CASE/mask``, and ``CASE/ct`` of training and validation cases or
        ``CASE/REFERENCE`` of test cases: stored volumes. Also
        ``CASE/REFERENCE`` of ``learned_from``, for the first reference.
    """
    split = fitting["split"]
    seen = {*split["train"], *split["validation"]}
    learned = {
        name: path
        for name, path in files.items()
        if name.split("/")[0] in seen and name.split("/")[1] in ARRAYS
    }
    with temporary_folder("trial", scratch) as model:
        fit(out=model, scratch=scratch, **fitting, **learned)
        network = _Network(model, files, references, noise_seed)
        scores = [
            score for case in split["test"] for score in network.scores(case, metrics, outcomes)
        ]
        scores += [network.wrong(case) for case in learned_from]
        write_whole(out / HISTORY, (model / HISTORY).read_bytes())
    document = {"validation_mae_hu": network.description.validation_mae_hu, "scores": scores}
    write_whole(out / TRIAL, canonical_json(document))


class _Network:
    """The trained network and the scores of its predictions."""

    def __init__(
        self, model: Path, files: Mapping[str, Path], references: Sequence[str], seed: int
    ) -> None:
        self.model, self.files, self.references, self.seed = model, files, references, seed
        self.description = ModelDescription.load(model / MODEL)
        self.run = torch_runner(model)

    def scores(
        self, case: str, metrics: Sequence[str], outcomes: Sequence[Outcome]
    ) -> Iterator[dict[str, Any]]:
        """Rows of a test case."""
        source, mask = self._read(case, "source"), self._read(case, "mask")
        hu = predict(self.run, source, mask, self.description).hu
        for reference in self.references:
            ct = self._read(case, reference).array
            pair = masked_pair(ct, hu, mask.array, spacing_mm=source.grid.spacing_mm)
            for metric in metrics:
                for name, value in METRICS.build(metric, {})(pair).values.items():
                    yield _row(case, reference, name, value)
        if outcomes:
            reference = self.references[0]
            truth = self._read(case, reference).array.astype(np.float64)
            inside = thinned(np.asarray(mask.array) > 0)
            seen = PredictedCase(
                case, self.model, self.description, self.run, source, mask,
                hu.astype(np.float64), truth, inside, self.seed,
            )  # fmt: skip
            for name, value in measured(seen, outcomes).items():
                yield _row(case, reference, name, value)

    def wrong(self, case: str) -> dict[str, Any]:
        """The row ``wrong_hu`` of a training case."""
        reference = self.references[0]
        source, mask = self._read(case, "source"), self._read(case, "mask")
        inside = thinned(np.asarray(mask.array) > 0)
        wanted = mask.with_array(inside.astype(np.uint8))
        hu = predict(self.run, source, mask, self.description, wanted=wanted).hu
        given, truth = (self._read(case, kind).array.astype(float) for kind in ("ct", reference))
        return _row(case, reference, "wrong_hu", wrong_hu(hu.astype(float), given, truth, inside))

    def _read(self, case: str, kind: str) -> Volume:
        return read_volume(self.files[f"{case}/{kind}"])


def _row(case: str, reference: str, metric: str, value: float | None) -> dict[str, Any]:
    rounded = None if value is None else float(f"{value:.9g}")
    return {"case": case, "reference": reference, "metric": metric, "value": rounded}
