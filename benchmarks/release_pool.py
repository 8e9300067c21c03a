"""Error with `predict --surest K` on new digital patients, which no network was trained on."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from synthct.data.layout import Layout
from synthct.data.readers import read_scan
from synthct.data.volume import Modality
from synthct.tasks.chain.params import load_params
from synthct.tasks.cohort.params import Region
from synthct.tasks.cohort.patient import write_patient
from synthct.tasks.cohort.run import PREFIX, protocol_of
from synthct.tasks.prediction.options import PredictOptions
from synthct.tasks.prediction.predict import predict_file

RELEASES = Path(os.environ.get("SYNTHCT_RELEASES", str(Layout().artefact("export"))))
"""Releases of the demo (`make run`)."""
SEED = 20261126
"""Differs from the demo's, so that the patients are new."""
EACH = 2
KEPT = (1, 2, 3)


def measure() -> str:
    """MAE inside the body against the true CT, by number of networks kept."""
    cohort = load_params(Path("params.yaml")).cohort
    assert cohort is not None
    errors: dict[tuple[str, str], list[list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="synthct-bench-") as place:
        for region in cohort.regions:
            for number in range(EACH):
                name = f"{PREFIX[region]}-{number:02d}"
                folder = Path(place) / name
                folder.mkdir()
                write_patient(
                    out=folder, patient=name, region=region, seed=SEED, dataset="pool",
                    protocol=protocol_of(cohort, region),
                )  # fmt: skip
                for source in ("mr", "cbct"):
                    errors.setdefault((source, region), []).append(_errors(folder, source))
    rows = [_row(source, region, errors[source, region]) for source, region in sorted(errors)]
    for source in ("cbct", "mr"):
        every = [found for (of, _), many in errors.items() for found in many if of == source]
        rows.append(_row(source, "all", every))
    return "\n".join(
        [
            f"{EACH} new digital patients of each region. Each of the demo's three networks "
            "predicts with test-time flips, and the K networks whose predictions vary least on the "
            "scan are used. Mean absolute error [HU] inside the body against the true CT.",
            "",
            "| source | region | one | two | three | one minus three | two minus three |",
            "|---|---|---|---|---|---|---|",
            *rows,
        ]
    )


def _errors(patient: Path, source: str) -> list[float]:
    truth = read_scan(patient / "truth" / f"{source}_ct.mha", Modality.CT).array
    found = []
    for keep in KEPT:
        out = patient / f"{source}_{keep}.mha"
        predict_file(
            RELEASES / source, patient / source, out, options=PredictOptions(surest=keep, threads=1)
        )
        hu = read_scan(out, Modality.CT).array
        body = hu > -1024
        found.append(float(np.abs(hu[body].astype(np.float64) - truth[body]).mean()))
    return found


def _row(source: str, region: Region | str, errors: list[list[float]]) -> str:
    one, two, three = np.mean(errors, axis=0)
    return (
        f"| {source} | {region} | {one:.1f} | {two:.1f} | {three:.1f} | {one - three:+.1f} | "
        f"{two - three:+.1f} |"
    )
