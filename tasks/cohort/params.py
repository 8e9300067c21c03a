"""Parameters of the embedded cohort."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from synthct.data.section import Section

Region = Literal["head-neck", "thorax", "abdomen"]
VoxelMm = Annotated[tuple[PositiveFloat, PositiveFloat, PositiveFloat], Field(strict=False)]


class VoxelSizes(Section):
    """Voxel sizes (z, y, x) of the scans of one region [mm]."""

    ct: VoxelMm = (4.0, 4.0, 4.0)
    """Of the planning CT [mm]."""
    mr: VoxelMm = (5.0, 4.0, 4.0)
    """Of the MR [mm]."""
    cbct: VoxelMm = (4.0, 4.0, 4.0)
    """Of the reconstructed cone-beam CT [mm]."""


HEAD_VOXELS = VoxelSizes(ct=(3.5, 3.0, 3.0), mr=(4.0, 2.7, 2.7), cbct=(3.5, 3.0, 3.0))


class CohortParams(Section):
    """How many digital patients there are, how they are scanned and how much they move."""

    regions: Annotated[tuple[Region, ...], Field(strict=False, min_length=1)] = (
        "head-neck", "thorax", "abdomen",
    )  # fmt: skip
    """Body regions of the patients."""
    patients_per_region: PositiveInt = 3
    """Patients of each region. Patient n does not depend on how many there are."""
    voxels_mm: dict[Region, VoxelSizes] = Field(
        default={"head-neck": HEAD_VOXELS, "thorax": VoxelSizes(), "abdomen": VoxelSizes()}
    )
    """Voxel sizes of each region; the field of view stays the same."""
    anatomy_mm: PositiveFloat = 2.0
    """Voxel size of the grid that the anatomy is drawn on [mm]; half a scan voxel or less."""
    deformation_mm: Annotated[tuple[NonNegativeFloat, NonNegativeFloat], Field(strict=False)] = (
        3.5,
        7.0,
    )
    """Range of the mean non-rigid displacement inside the body between two days [mm]."""
    setup_shift_mm: NonNegativeFloat = 3.0
    """Standard deviation of the set-up error along each axis [mm]."""
    setup_turn_deg: NonNegativeFloat = 1.2
    """Standard deviation of the set-up error about each axis [degrees]."""
    ct_noise_hu: NonNegativeFloat = 12.0
    """Standard deviation of the CT's noise [HU]."""
    mr_noise: NonNegativeFloat = 0.025
    """Noise of the MR as a fraction of its bright tissue."""
    mr_shading: NonNegativeFloat = 0.15
    """Standard deviation of the logarithm of the MR coil sensitivity."""
    cbct_views: PositiveInt = 60
    """Projections of a CBCT over the full circle; detector pixels match its voxels."""
    cbct_scatter: NonNegativeFloat = 0.09
    """Scatter left in the projections, relative to the forward-scatter potential."""
    cbct_photons_per_mm2: PositiveFloat = 2.0e4
    """Detected quanta in the open beam per mm^2 at the isocentre."""
    cbct_projections: bool = False
    """Keep the projections of each CBCT, for the section ``reconstruction``."""
    cbct_scanner: dict[str, Annotated[tuple[float, float], Field(strict=False)]] | None = None
    """Simulate another cone-beam scanner for each patient: (lowest, highest) of parameters by name,
    as in ``synthct.data.phantom.scanners``, whose ranges hold for those left out (``{}``: all).
    ``cbct_scatter`` and ``cbct_photons_per_mm2`` are then not used. Null: one scanner for all."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        missing = sorted(set(self.regions) - set(self.voxels_mm))
        if missing:
            raise ValueError(f"voxels_mm names the voxels of every region, {missing[0]} is missing")
        low, high = self.deformation_mm
        if low > high:
            raise ValueError(f"deformation_mm is (smallest, largest), got ({low}, {high})")
        from synthct.data.phantom.scanners import BOUNDS  # params load no library that computes

        for name, ends in (self.cbct_scanner or {}).items():
            if name not in BOUNDS:
                raise ValueError(f"cbct_scanner has {', '.join(sorted(BOUNDS))}; not {name!r}")
            least, most = BOUNDS[name]
            if not least <= ends[0] <= ends[1] <= most:
                raise ValueError(
                    f"cbct_scanner.{name} is (lowest, highest) between {least:g} and {most:g}, "
                    f"got ({ends[0]:g}, {ends[1]:g})"
                )
        return self
