"""Outputs of a prediction: names and disk space checked first, files written atomically."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthct.data.errors import MachineError, UsageError
from synthct.data.files import whole_folder
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers import SUFFIXES, suffix_of, write_image
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.sliding import Prediction
from synthct.tasks.prediction.interval_files import Ends, write_interval
from synthct.tasks.prediction.intervals import Calibration
from synthct.tasks.prediction.prepare import Prepared
from synthct.tasks.prediction.reference import Reference
from synthct.tasks.prediction.series import write_sct
from synthct.tasks.prediction.slab_resampling import on_grid
from synthct.tasks.prediction.structures import Carried, write_structures


@dataclass(frozen=True)
class Outputs:
    """Paths of the results; checked before any computation."""

    out: Path
    uncertainty: Path | None = None
    dicom_reference: Path | None = None
    structures: Path | None = None
    interval: Path | None = None
    body: Path | None = None
    harmonised: Path | None = None

    @property
    def needs_spread(self) -> bool:
        """Whether the spread over networks and flips is needed."""
        return self.uncertainty is not None or self.interval is not None

    @property
    def is_series(self) -> bool:
        """Whether the output is the folder of a DICOM series: a name without an image suffix.

        No suffix of an image format starts with a digit, so ``sct_v1.2`` is a folder. An existing
        folder is one in any case.
        """
        ending = self.out.suffix[1:]
        image = self.out.name.lower().endswith(SUFFIXES)
        return not image and (not ending or ending[0].isdigit() or self.out.is_dir())

    @property
    def _written(self) -> tuple[Path | None, ...]:
        return self.out, self.uncertainty, self.interval, self.body, self.harmonised

    def check(self, *, inputs: Iterable[Path | None]) -> None:
        """Raise if an output has an unsuitable name, or the name of an input."""
        written = [path.resolve() for path in self._written if path is not None]
        named = written + [path.resolve() for path in inputs if path is not None]
        if any(named.count(path) > 1 for path in written):
            raise UsageError(
                "an input or another output has the same name",
                rule="inputs and outputs are different files",
                where=str(self.out),
                remedy="name other outputs",
                code="output-is-input",
            )
        for path in written:
            if any(other in path.parents for other in written):
                raise UsageError(
                    "the output lies inside another output",
                    rule="a folder is put in place whole: what else it held would be lost",
                    where=str(path),
                    remedy="name outputs beside each other",
                    code="output-inside-output",
                )
        if not self.is_series:
            _require_suffix(self.out)
        else:
            _require_empty(
                self.out, "a series", "name a new folder, or a file ending in .mha or .nii.gz"
            )
        if self.interval is not None:
            _require_empty(self.interval, "an interval", "name a new folder")
        for image in (self.uncertainty, self.body):
            if image is not None:
                suffix_of(image)
        if self.harmonised is not None and self.harmonised.suffix.lower() != ".svg":
            raise UsageError(
                f"{self.harmonised.suffix!r} is not the suffix of the picture",
                rule="the picture of a harmonisation is an .svg file",
                where=str(self.harmonised),
                remedy="name a file ending in .svg",
                code="suffix",
            )
        self._check_reference()

    def check_picture(self, model: ModelDescription) -> None:
        """Raise if a picture of the harmonisation is requested and nothing is harmonised."""
        if self.harmonised is not None and model.source_scaling.harmonise is None:
            raise UsageError(
                "the scan is not harmonised",
                rule="the picture shows what a harmoniser did",
                where=str(self.harmonised),
                remedy="name a harmoniser with --harmonise, or leave out the picture",
                code="picture-without-harmoniser",
            )

    def _check_reference(self) -> None:
        if self.dicom_reference is not None and not self.is_series:
            raise UsageError(
                "a DICOM reference is given for an image file",
                rule="a DICOM reference goes with a DICOM series",
                where=str(self.out),
                remedy="name an output folder, or leave out --dicom-reference",
                code="reference-without-series",
            )
        if self.structures is not None and self.dicom_reference is None:
            raise UsageError(
                "structures are given without --dicom-reference",
                rule="contours are carried over to a series that is filed beside their source",
                where=str(self.structures),
                remedy="name the series that the contours belong to with --dicom-reference",
                code="structures-without-reference",
            )

    def check_room(self, grid: Grid) -> None:
        """Raise if a disk has too little space for the uncompressed results."""
        voxels = int(np.prod(grid.shape))
        asked = {
            self.out: 2 * voxels + 4096 * grid.shape[0],
            self.uncertainty: 4 * voxels,
            self.body: voxels,
            self.interval: 5 * voxels,
        }
        needed: dict[int, int] = {}
        for path, count in asked.items():
            if path is None:
                continue
            folder = next(p for p in path.absolute().parents if p.exists())
            disk = folder.stat().st_dev
            needed[disk] = count = needed.get(disk, 0) + count
            free = shutil.disk_usage(folder).free
            if free < count:
                raise MachineError(
                    f"the disk has too little space: {count >> 20} MiB needed for the results, "
                    f"{free >> 20} MiB free",
                    where=str(path),
                    remedy="free space or name another disk",
                    code="disk-full",
                )


def _require_empty(folder: Path, what: str, remedy: str) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            "the folder holds files" if folder.is_dir() else "there is a file of that name",
            rule=f"{what} is written into a new or empty folder",
            where=str(folder),
            remedy=remedy,
            code="out-not-empty",
        )


def _require_suffix(out: Path) -> None:
    try:
        suffix_of(out)
    except UsageError as error:
        raise UsageError(
            f"{out.suffix!r} is not the suffix of a format that can be written",
            rule=f"{error.rule}, and the folder of a DICOM series has no suffix",
            where=str(out),
            remedy="name a file with one of these suffixes, or a folder: a new one without "
            "a suffix or one that exists and is empty",
            code=error.code,
        ) from None


def write_results(
    outputs: Outputs,
    prepared: Prepared,
    prediction: Prediction,
    *,
    intervals: Calibration | None,
    range_hu: tuple[float, float],
    outside_hu: int,
    derivation: str,
    caution: str,
    reference: Reference | None,
    structures: list[Carried],
    uid_seed: str,
) -> dict[str, Any] | None:
    """Write all results, the synthetic CT last, so that the others exist when it does.

    Returns the content of ``interval.json``, or None without an interval.
    """
    mask, body = prepared.wanted, prepared.body
    if outputs.body is not None:
        write_image(outputs.body, body)
    spread = None
    if prediction.sd_hu is not None:
        spread = on_grid(prediction.sd_hu, mask, body, 0.0)
        if outputs.uncertainty is not None:
            write_image(outputs.uncertainty, body.with_array(spread, Modality.CT))
    hu = on_grid(prediction.hu, mask, body, outside_hu, np.int16)
    said = None
    if outputs.interval is not None and intervals is not None:
        ends = Ends.of(intervals, hu, spread, body.array, range_hu)
        said = ends.as_json(intervals, body.array)
        write_interval(
            outputs.interval, ends, body, intervals,
            suffix="" if outputs.is_series else suffix_of(outputs.out),
            derivation=derivation, caution=caution, reference=reference, uid_seed=uid_seed,
        )  # fmt: skip
        del ends
    del spread
    volume = Volume(hu, body.grid, Modality.CT)
    if not outputs.is_series:
        write_image(outputs.out, volume)
        return said
    with whole_folder(outputs.out) as building:
        # write_series replaces its folder in one rename: write beside the target, then move it.
        files = write_sct(
            building / "series",
            volume,
            derivation=derivation,
            caution=caution,
            reference=reference,
            uid_seed=uid_seed,
        )
        for file in files:
            file.rename(building / file.name)
        (building / "series").rmdir()
        if reference is not None:
            write_structures(building, structures, reference)
    return said
