"""One patient of the cohort as files: DICOM series of three days and the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synthct.data.files import canonical_json, write_whole
from synthct.data.phantom.patient import Patient, Projections, Protocol, SourceScan, make_patient
from synthct.data.tomography.rtk_writer import write_projections
from synthct.data.writers import write_displacement_image, write_image
from synthct.data.writers.dicom import write_series
from synthct.tasks.pipeline.artefacts import BEAM, GEOMETRY, PROJECTIONS
from synthct.tasks.pipeline.randomness import generator

STUDY = {"ct": "planning", "mr": "MR simulation", "cbct": "treatment day"}
DEVICE: dict[str, dict[str, Any]] = {
    "ct": {"Manufacturer": "synthct digital", "ManufacturerModelName": "Digital CT", "KVP": 120.0},
    "mr": {"Manufacturer": "synthct digital", "ManufacturerModelName": "Digital MR 1.5T"},
    "cbct": {
        "Manufacturer": "synthct digital",
        "ManufacturerModelName": "Digital Cone-beam CT",
    },
}


def write_patient(
    *,
    out: Path,
    patient: str,
    region: str,
    seed: int,
    dataset: str,
    protocol: dict[str, Any],
    projections: bool = False,
) -> None:
    """Unit: make one patient, write ``ct/ mr/ cbct/`` (DICOM) and ``truth/`` (MHA) into ``out``.

    Parameters
    ----------
    patient, region
        Name and body region of the patient.
    seed, dataset
        Seed of the random streams, and data set that the DICOM identifiers are derived from.
    protocol
        Fields of :class:`synthct.data.phantom.patient.Protocol`.
    projections
        Whether to write ``projections/cbct/`` too.
    """

    def random(*names: str) -> Any:
        return generator(seed, "cohort", patient, *names)

    made = make_patient(region, Protocol(**protocol), random)
    uid_seed = f"{dataset}/{seed}"
    for scan, volume, extra in _scans(made):
        write_series(
            out / scan,
            volume,
            patient_id=patient,
            study=STUDY[scan],
            series_description=f"{region} {scan.upper()}",
            attributes=DEVICE[scan] | extra,
            uid_seed=uid_seed,
        )
    for modality, source in made.sources.items():
        _write_truth(out / "truth", modality, source)
        if projections and source.projections is not None:
            _write_projections(out / "projections" / modality, source.projections)


def _scans(made: Patient) -> list[tuple[str, Any, dict[str, Any]]]:
    sources = [
        (modality, source.scan, dict(source.attributes))
        for modality, source in made.sources.items()
    ]
    return [("ct", made.ct, {}), *sources]


def _write_truth(folder: Path, modality: str, source: SourceScan) -> None:
    write_image(folder / f"{modality}_ct.mha", source.ct)
    write_image(folder / f"{modality}_labels.mha", source.labels)
    write_displacement_image(folder / f"{modality}_displacement.mha", source.displacement)


def _write_projections(folder: Path, kept: Projections) -> None:
    folder.mkdir(parents=True)
    write_projections(folder / PROJECTIONS, folder / GEOMETRY, kept.sinogram)
    beam = {"open_beam": kept.sinogram.open_beam, "water_per_mm": kept.water_per_mm}
    write_whole(folder / BEAM, canonical_json(beam))
