"""Manipulations that improve a score: each is caught by another, named check."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from synthct.tasks.evaluation.checks import CHECKS, examine
from synthct.tasks.evaluation.evidence import Evidence
from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.pair import masked_pair
from synthct.tasks.evaluation.params import EvaluationParams
from synthct.tasks.evaluation.structures.scores import by_threshold, compare_structures

SPACING_MM = (3.0, 1.0, 1.0)
RULES = EvaluationParams().model_dump(mode="json")["structures"]


@pytest.fixture(scope="module")
def patient():
    """A trunk with a spine of five vertebrae, two lungs and fat; CT [HU] and body mask."""
    z, y, x = np.meshgrid(np.arange(40), np.arange(72), np.arange(80), indexing="ij")
    body = ((y - 36) / 32) ** 2 + ((x - 40) / 36) ** 2 < 1
    hu = np.where(body, -100.0, -1000.0)
    hu[((y - 36) / 26) ** 2 + ((x - 40) / 30) ** 2 < 1] = 50
    for side in (26, 54):
        hu[((y - 32) / 14) ** 2 + ((x - side) / 9) ** 2 < 1] = -800
    spine = (abs(y - 54) < 6) & (abs(x - 40) < 7) & (z % 8 < 6)
    hu[spine] = 500
    noise = gaussian_filter(np.random.default_rng(0).standard_normal(hu.shape), 1) * 60
    return np.where(body, hu + noise, -1000), body


@pytest.fixture(scope="module")
def honest(patient):
    """A good model: unbiased texture, edges where they belong."""
    hu, body = patient
    noise = gaussian_filter(np.random.default_rng(1).standard_normal(hu.shape), 1) * 150
    return np.where(body, hu + noise, -1000)


def scores(hu, prediction, body):
    pair = masked_pair(hu, prediction, body, spacing_mm=SPACING_MM)
    found = {}
    for name in METRICS.names():
        found |= METRICS.build(name, {})(pair).values
    truth, seen = by_threshold(hu, body, RULES), by_threshold(prediction, body, RULES)
    return found | dict(compare_structures(truth, seen, spacing_mm=SPACING_MM).values)


def suspects(hu, prediction, body):
    """Names of the checks that do not believe the prediction."""
    pair = masked_pair(hu, prediction, body, spacing_mm=SPACING_MM)
    return {f.check for f in examine(Evidence(pair, hu), CHECKS.names()) if f.suspect}


def erased(honest, hu):
    gone = honest.copy()
    gone[16:24][hu[16:24] > 300] = 50
    return gone


def another_patient(hu):
    """Wider lungs elsewhere, the spine to one side: the same tissues in about the same amounts."""
    return np.where(hu > -900, np.roll(np.roll(hu, 9, axis=2)[:, ::-1], 4, axis=1), -1000)


FRAUDS = {
    "blurred": ("detail", lambda hu, honest: gaussian_filter(hu, (0.7, 1.8, 1.8))),
    "CT of another patient": ("identity", lambda hu, honest: another_patient(hu)),
    "one vertebra erased": ("lost_structure", lambda hu, honest: erased(honest, hu)),
    "shifted 3 mm": ("offset", lambda hu, honest: np.roll(honest, 3, axis=2)),
    "bones clipped": ("bone_range", lambda hu, honest: np.minimum(honest, 150)),
    "learned by heart": ("copied", lambda hu, honest: np.where(hu > -200, hu, honest)),
}


@pytest.mark.parametrize("fraud", FRAUDS)
def test_every_fraud_on_the_image_is_caught_by_its_named_check(patient, honest, fraud):
    hu, body = patient
    check, commit = FRAUDS[fraud]
    assert check in suspects(hu, np.where(body, commit(hu, honest), -1000), body)


def test_an_honest_model_is_suspected_of_nothing(patient, honest):
    hu, body = patient
    assert suspects(hu, honest, body) == set()


def test_scoring_only_the_easy_slices_is_caught_by_the_cover_of_the_mask(patient, honest):
    hu, body = patient
    easy = body.copy()
    easy[:14] = False
    assert suspects(hu, honest, easy) == {"mask_cover"}


def test_scoring_outside_the_body_is_caught_by_the_air_in_the_mask(patient, honest):
    hu, body = patient
    assert "mask_air" in suspects(hu, honest, np.ones_like(body))


@pytest.mark.parametrize("name", CHECKS.names())
def test_every_check_survives_a_pair_without_anatomy(name):
    flat = np.full((6, 9, 9), -1000.0)
    found = CHECKS.build(name, {})(Evidence(masked_pair(flat, flat + 1), flat))
    assert found.check == name
    assert found.value is None or np.isfinite(found.value)
    assert found.message


def test_the_table_of_frauds_in_the_docs_names_checks_that_exist():
    page = (
        Path(__file__).resolve().parents[3] / "docs" / "explanation" / "evaluation.md"
    ).read_text()
    for check in CHECKS.names():
        assert f"`{check}`" in page, check
    for code in ("test-case-seen", "test-scan-seen"):
        assert f"`{code}`" in page, code


def test_one_erased_vertebra_hides_from_mae_but_not_from_the_bone_band(patient, honest):
    hu, body = patient
    erased = honest.copy()
    erased[16:24][hu[16:24] > 300] = 50
    before, after = scores(hu, honest, body), scores(hu, erased, body)
    assert after["mae_hu"] < 1.15 * before["mae_hu"]
    assert after["mae_hu_bone"] > 2 * before["mae_hu_bone"]
    assert after["me_hu_bone"] < -60
    assert after["dice_bone"] < before["dice_bone"] - 0.05


def test_a_blurred_sct_keeps_its_mean_but_loses_bone(patient, honest):
    hu, body = patient
    width = (0.5, 1.6, 1.6)
    share = gaussian_filter(body.astype(float), width)
    blurred = gaussian_filter(np.where(body, honest, 0), width) / np.maximum(share, 1e-3)
    before, after = scores(hu, honest, body), scores(hu, blurred, body)
    assert after["me_hu"] == pytest.approx(before["me_hu"], abs=5)
    assert after["me_hu_bone"] < -80
    assert after["mae_hu_bone"] > 1.5 * before["mae_hu_bone"]
    assert after["dice_bone"] < before["dice_bone"] - 0.05


def test_bones_clipped_at_200_hu_keep_their_dice_but_not_their_hu(patient, honest):
    hu, body = patient
    clipped = np.minimum(honest, 200)
    before, after = scores(hu, honest, body), scores(hu, clipped, body)
    assert after["dice_bone"] == pytest.approx(before["dice_bone"], abs=0.02)
    assert after["me_hu_bone"] < -200


def test_a_shift_by_3_mm_is_seen_by_every_kind_of_score(patient, honest):
    hu, body = patient
    shifted = np.where(body, np.roll(honest, 3, axis=2), -1000)
    before, after = scores(hu, honest, body), scores(hu, shifted, body)
    assert after["mae_hu"] > 1.5 * before["mae_hu"]
    assert after["ms_ssim"] < before["ms_ssim"]
    assert after["dice_lung"] < before["dice_lung"]
    assert after["hd95_mm_lung"] >= 3


def test_scoring_outside_the_body_too_flatters_and_the_mask_takes_that_away(patient, honest):
    hu, body = patient
    everywhere = scores(hu, honest, np.ones_like(body))["mae_hu"]
    assert everywhere < 0.75 * scores(hu, honest, body)["mae_hu"]


def test_a_handful_of_partly_filled_voxels_on_a_coarse_grid_is_no_fraud():
    truth = np.full((12, 24, 24), 40.0)
    truth[3:9, 10:14, 10:14] = 700
    truth[5:7, 2:4, 2:5] = 300  # 12 voxels of 64 mm3: 0.77 ml
    thin, gone = truth.copy(), truth.copy()
    thin[5:7, 2:4, 2:5] = 140
    gone[3:9, 10:14, 10:14] = 40  # 96 voxels
    inside = np.ones(truth.shape, bool)
    check = CHECKS.build("lost_structure", {})
    suspects = []
    for hu in (thin, gone):
        pair = masked_pair(truth, hu, inside, spacing_mm=(4.0, 4.0, 4.0))
        suspects.append(check(Evidence(pair, truth)).suspect)
    assert suspects == [False, True]
