"""elastix: a cubic B-spline with Mattes mutual information, configured by the preset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synthct.tasks.registration.methods import METHODS

if TYPE_CHECKING:
    import SimpleITK as sitk

    from synthct.tasks.registration.job import Job


@METHODS.register("elastix_mi")
@dataclass(frozen=True)
class ElastixMI:
    """The reference method: SynthRAD2025's elastix presets, including their safeguards."""

    def deformable(self, job: Job, rigid: sitk.Transform) -> sitk.CompositeTransform:
        """The B-spline, applied before the rigid transform: x -> rigid(x + spline(x))."""
        import SimpleITK as sitk

        from synthct.data.itk import to_itk
        from synthct.tasks.fields.geometry import carried_back
        from synthct.tasks.pipeline.randomness import derive_seed
        from synthct.tasks.registration.elastix.run import run_bspline, sample_region_mm

        step = job.preset.bspline
        bone = job.bone() if step.rigidity_weight > 0 else None
        spline = run_bspline(
            job.placed(rigid),
            step,
            sample_region_mm=sample_region_mm(step, job.grid),
            stiff=None if bone is None else to_itk(carried_back(bone, rigid)),
            seed=derive_seed(job.seed, "bspline"),
            threads=job.threads,
        )
        # ITK applies the transform added last first.
        return sitk.CompositeTransform([rigid, spline])

    def plugins(self) -> tuple[str, ...]:
        """No plug-ins besides the method itself."""
        return ()

    def facts(self) -> dict[str, Any]:
        """No parameters: the preset defines everything."""
        return {}
