"""Presets by name: those of the SynthRAD2025 preprocessing, and short variants for the demo.

The published values are those of the challenge's preprocessing (Thummerer et al., Med Phys 52
(2025) e17981); none of its code is used. ``rigidity`` needs a bone mask: see
``elastix/parameter_maps.py``.
"""

from __future__ import annotations

from dataclasses import replace

from synthct.data.errors import UsageError, did_you_mean
from synthct.tasks.registration.preset import BSplineStep, Preset, RigidStep

_ABDOMEN_MR = BSplineStep(
    bending_weight=50.0,
    bins=60,
    grid_mm=15.0,
    pyramid="smoothing",
    pyramid_factors=(8, 4, 1),
    iterations=(2000, 2000, 1000),
)
_HEAD_NECK_MR = BSplineStep(bending_weight=50.0, rigidity_weight=2.0, grid_mm=15.0)
_THORAX_MR = replace(_HEAD_NECK_MR, grid_mm=10.0)
_CBCT = BSplineStep(
    bending_weight=10.0, rigidity_weight=0.5, iterations=(500, 200, 100), erode_mask=True
)

_DEMO_RIGID = RigidStep(pyramid_factors=(4, 2, 1), iterations=(150, 100, 100), samples=2000)

_DEMO = BSplineStep(
    bending_weight=3000.0,
    bins=48,
    grid_mm=32.0,
    pyramid_factors=(3, 2, 1),
    iterations=(250, 250, 250),
    samples=5000,
    sample_region_mm=0.0,
    interpolation_order=1,
)
"""For 4 mm voxels, too few to constrain many control points: the grid is coarse and stiff.

Tuned on the demo's digital patients, so its scores there are not those on unseen ones. With bending
weight 50 the mean error was two thirds larger; with 6000 on a 24 mm grid elastix diverged.
"""

_DEMO_HEAD_NECK = replace(_DEMO, pyramid_factors=(2, 2, 1))
"""A pyramid factor of 3 exceeds the thickness of the skull."""

_DEMO_HEAD_NECK_MR = replace(_DEMO_HEAD_NECK, bins=32, iterations=(300, 300, 300))

_DEMO_BELLY = replace(_DEMO, pyramid="smoothing", pyramid_factors=(2, 1, 1))
"""Organ contrast is low on a cone-beam CT, so all voxels are kept at every level."""

_TINY_RIGID = RigidStep(pyramid_factors=(4, 2, 1), iterations=(50, 40, 30), samples=1000)
_TINY = replace(_DEMO, iterations=(40, 30, 20), samples=1500)
"""For tests of the pipeline: a tenth of the demo's run time, on digital patients of 8 mm voxels."""

_SOFT_TISSUE_HU = (-200.0, 250.0)


def _demo(
    name: str,
    step: BSplineStep,
    *,
    flatten_mm: float = 0.0,
    ct_window_hu: tuple[float, float] = (-1000.0, 1500.0),
    mask_margin_mm: float = 8.0,
) -> Preset:
    return Preset(
        f"{name}_demo",
        step,
        rigid=_DEMO_RIGID,
        ct_window_hu=ct_window_hu,
        flatten_mm=flatten_mm,
        mask_margin_mm=mask_margin_mm,
    )


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("mr_AB", _ABDOMEN_MR),
        Preset("mr_HN", _HEAD_NECK_MR),
        Preset("mr_TH", _THORAX_MR),
        Preset("cbct_AB", _CBCT),
        Preset("cbct_HN", _CBCT),
        Preset("cbct_TH", _CBCT),
        _demo("mr_AB", _DEMO, mask_margin_mm=4.0),
        _demo(
            "mr_HN",
            _DEMO_HEAD_NECK_MR,
            flatten_mm=30.0,
            ct_window_hu=_SOFT_TISSUE_HU,
            mask_margin_mm=12.0,
        ),
        _demo("mr_TH", _DEMO),
        _demo("cbct_AB", _DEMO_BELLY, flatten_mm=15.0, ct_window_hu=(-300.0, 400.0)),
        _demo("cbct_HN", _DEMO_HEAD_NECK, flatten_mm=30.0),
        _demo("cbct_TH", _DEMO, flatten_mm=30.0),
        _demo("mr_other", _DEMO),
        _demo("cbct_other", _DEMO, flatten_mm=30.0),
        Preset("lung", _CBCT, ct_window_hu=(-1000.0, 200.0), mask_margin_mm=5.0),
        Preset("tiny", _TINY, rigid=_TINY_RIGID, mask_margin_mm=8.0),
    )
}

_REGIONS = {"head-neck": "HN", "thorax": "TH", "abdomen": "AB", "other": "AB"}
"""Preset suffix by region. Limbs and other regions (``other``) use the abdomen preset, except in
the demo, where the abdomen's mask margin and CT window are specific to digital patients."""


_DEMO_REGIONS = {**_REGIONS, "other": "other"}


def preset_called(name: str, *, where: str = "") -> Preset:
    """The preset of that name."""
    if name not in PRESETS:
        raise UsageError(
            f"no registration preset is called {name!r}",
            where=where,
            remedy=did_you_mean(name, PRESETS),
            code="unknown-preset",
        )
    return PRESETS[name]


def usual_preset(source: str, region: str, *, demo: bool = False) -> str:
    """Name of the preset for a source (``mr``, ``cbct``) and a region."""
    if demo:
        return f"{source}_{_DEMO_REGIONS.get(region, 'other')}_demo"
    return f"{source}_{_REGIONS.get(region, 'AB')}"
