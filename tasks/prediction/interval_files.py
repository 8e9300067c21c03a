"""The folder that ``predict --interval`` writes: low and high ends, and untrusted voxels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.files import canonical_json, whole_folder, write_whole
from synthct.data.volume import Modality, Volume
from synthct.data.writers import write_image
from synthct.tasks.prediction.intervals import ALL, Calibration
from synthct.tasks.prediction.reference import Reference
from synthct.tasks.prediction.series import write_sct, write_untrusted

LOW, HIGH, UNTRUSTED = "low", "high", "untrusted"
"""Names of the three files, without the suffix of the synthetic CT."""

DESCRIPTION = "interval.json"
"""File with nominal coverage, number of calibration patients, and shares of the body."""


@dataclass(frozen=True, eq=False)
class Ends:
    """An interval for every voxel of a scan.

    Parameters
    ----------
    low, high
        int16 (Z, Y, X) [HU]; outside the body both are the value outside.
    untrusted
        bool (Z, Y, X); False outside the body.
    """

    low: NDArray[np.int16]
    high: NDArray[np.int16]
    untrusted: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        calibration: Calibration,
        hu: NDArray[np.int16],
        sd_hu: NDArray[Any] | None,
        body: NDArray[Any],
        range_hu: tuple[float, float],
    ) -> Ends:
        """Computed slice by slice, so that no float array of the scan's size is allocated.

        Parameters
        ----------
        hu, sd_hu, body
            (Z, Y, X): synthetic CT [HU], its spread [HU], and body mask.
        range_hu
            Lowest and highest output of the networks [HU].
        """
        low, high, untrusted = hu.copy(), hu.copy(), np.zeros(hu.shape, bool)
        for z in range(len(hu)):
            inside = np.asarray(body[z]) > 0
            values = hu[z][inside]
            low[z][inside], high[z][inside] = calibration.interval(values, *range_hu)
            spread = None if sd_hu is None else sd_hu[z][inside]
            untrusted[z][inside] = calibration.untrusted(values, spread, range_hu[1])
        return cls(low, high, untrusted)

    def as_json(self, calibration: Calibration, body: NDArray[Any]) -> dict[str, Any]:
        """Content of ``interval.json``."""
        voxels = max(1, int(np.count_nonzero(body)))
        return {
            "nominal": calibration.nominal,
            "guarantee": calibration.guarantee,
            "reference": calibration.reference,
            "patients": calibration.patients,
            "covered_on_held_out_patients": calibration.bands[ALL].covered,
            "half_width_hu": {n: band.half_width_hu for n, band in calibration.bands.items()},
            "untrusted_share": float(f"{np.count_nonzero(self.untrusted) / voxels:.4g}"),
        }


def write_interval(
    folder: Path,
    ends: Ends,
    body: Volume,
    calibration: Calibration,
    *,
    suffix: str,
    derivation: str,
    caution: str,
    reference: Reference | None,
    uid_seed: str,
) -> None:
    """Write the folder, completely or not at all.

    Parameters
    ----------
    suffix
        Of image files; empty for two DICOM series and a DICOM segmentation.
    """
    untrusted = Volume(ends.untrusted.astype(np.uint8), body.grid, Modality.MASK)
    about = f"{100 * calibration.nominal:g} % interval, calibrated on {calibration.patients} "
    with whole_folder(folder) as building:
        for name, values in ((LOW, ends.low), (HIGH, ends.high)):
            volume = Volume(values, body.grid, Modality.CT)
            if suffix:
                write_image(building / f"{name}{suffix}", volume)
            else:
                write_sct(
                    building / name, volume, derivation=f"{name} end of the {about}patients. "
                    f"{derivation}", caution=caution, reference=reference, uid_seed=uid_seed,
                    title=f"synthetic CT, {name} end",
                )  # fmt: skip
        if suffix:
            write_image(building / f"{UNTRUSTED}{suffix}", untrusted)
        else:
            write_untrusted(
                building / f"{UNTRUSTED}.dcm", untrusted, derivation=f"Untrusted by the {about}",
                caution=caution, reference=reference, uid_seed=uid_seed,
            )  # fmt: skip
        write_whole(building / DESCRIPTION, canonical_json(ends.as_json(calibration, body.array)))
