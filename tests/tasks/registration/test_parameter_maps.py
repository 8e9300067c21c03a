from dataclasses import replace
from pathlib import Path

import pytest

from synthct.data.errors import UsageError
from synthct.data.volume import Grid
from synthct.tasks.registration.elastix.parameter_maps import bspline_map, rigid_map
from synthct.tasks.registration.elastix.run import EXTENT_SHARE, sample_region_mm
from synthct.tasks.registration.preset import BSplineStep, Preset, RigidStep
from synthct.tasks.registration.presets import PRESETS, preset_called, usual_preset


def maps_of(preset):
    step = preset.bspline
    stiff = Path("stiff.mha") if step.rigidity_weight else None
    return bspline_map(step, sample_region_mm=80.0, stiff=stiff, seed=3)


@pytest.fixture(params=sorted(PRESETS))
def preset(request):
    return PRESETS[request.param]


def test_no_penalty_is_left_to_elastix_to_weigh(preset):
    found = maps_of(preset)
    for number, name in enumerate(found["Metric"]):
        assert float(found[f"Metric{number}Weight"][0]) > 0, name
    assert float(found["Metric0Weight"][0]) == 1.0


def test_every_level_has_its_numbers(preset):
    found = maps_of(preset)
    levels = int(found["NumberOfResolutions"][0])
    assert len(found["MaximumNumberOfIterations"]) == levels
    assert len(found["GridSpacingSchedule"]) == levels
    assert len(found["ImagePyramidSchedule"]) == 3 * levels
    count = len(found["Metric"])
    for key in ("ImageSampler", "Interpolator", "FixedImagePyramid", "MovingImagePyramid"):
        assert len(found[key]) == count, key


def test_a_preset_survives_its_way_to_a_worker(preset):
    import json
    from dataclasses import asdict

    assert Preset.from_json(json.loads(json.dumps(asdict(preset)))) == preset


@pytest.mark.parametrize(
    ("name", "bending", "rigidity", "bins", "grid_mm", "iterations", "erode"),
    [
        ("mr_AB", 50, 0, 60, 15, (2000, 2000, 1000), False),
        ("mr_HN", 50, 2, 100, 15, (500, 300, 200), False),
        ("mr_TH", 50, 2, 100, 10, (500, 300, 200), False),
        ("cbct_AB", 10, 0.5, 100, 10, (500, 200, 100), True),
        ("cbct_HN", 10, 0.5, 100, 10, (500, 200, 100), True),
        ("cbct_TH", 10, 0.5, 100, 10, (500, 200, 100), True),
    ],
)
def test_published_presets_hold_the_published_numbers(
    name, bending, rigidity, bins, grid_mm, iterations, erode
):
    step = PRESETS[name].bspline
    assert (step.bending_weight, step.rigidity_weight) == (bending, rigidity)
    assert (step.bins, step.grid_mm, step.iterations) == (bins, grid_mm, iterations)
    assert step.erode_mask is erode
    assert (step.samples, step.sample_region_mm, step.interpolation_order) == (4096, 100, 3)
    assert PRESETS[name].rigid == RigidStep(32, (8, 4, 2, 1), (1000, 1000, 500, 500), 3000)


def test_the_smoothing_pyramid_of_the_abdomen_is_not_mistaken_for_a_recursive_one():
    found = maps_of(PRESETS["mr_AB"])
    assert found["FixedImagePyramid"][0] == "FixedSmoothingImagePyramid"
    assert found["ImagePyramidSchedule"] == ["8"] * 3 + ["4"] * 3 + ["1"] * 3


def test_a_limb_takes_the_abdomens_weights():
    assert usual_preset("mr", "other") == "mr_AB"
    assert usual_preset("cbct", "head-neck", demo=True) == "cbct_HN_demo"
    assert {usual_preset(t, r, demo=d) for t in ("mr", "cbct")
            for r in ("head-neck", "thorax", "abdomen", "other") for d in (False, True)} == {
        name for name in PRESETS if name not in ("tiny", "lung")  # chosen by name alone
    }  # fmt: skip


def test_a_limb_of_the_demo_does_not_get_what_was_tuned_on_digital_abdomens():
    for source in ("mr", "cbct"):
        neutral = preset_called(usual_preset(source, "other", demo=True))
        assert neutral.name == f"{source}_other_demo"
        assert neutral.ct_window_hu == (-1000.0, 1500.0)
        assert neutral.mask_margin_mm == 8.0


def test_a_misspelt_preset_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'mr_AB'"):
        preset_called("mr_ab")


def test_a_level_without_iterations_is_refused():
    with pytest.raises(UsageError, match="iterations"):
        BSplineStep(bending_weight=1.0, iterations=(100, 100))


def test_the_sample_region_fits_a_thin_scan():
    step = replace(PRESETS["mr_HN"].bspline, sample_region_mm=100.0)
    thin, thick = Grid((20, 100, 100), (3.0, 2.0, 2.0)), Grid((100, 100, 100), (3.0, 2.0, 2.0))
    assert sample_region_mm(step, thin) == pytest.approx(EXTENT_SHARE * 60)
    assert sample_region_mm(step, thick) == 100.0


def test_the_seed_and_the_centre_reach_elastix_in_its_order_and_range():
    found = rigid_map(RigidStep(), centre_mm=(1.0, 2.0, 3.0), seed=(1 << 62) + 5)
    assert found["CenterOfRotationPoint"] == ["3.0", "2.0", "1.0"]
    assert found["RandomSeed"] == ["5"]
    assert found["AutomaticTransformInitialization"] == ["false"]
