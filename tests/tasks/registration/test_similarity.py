import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from synthct.tasks.registration.agreement import (
    gradient_agreement,
    normalised_mutual_information,
    overlap_dice,
)

SPACING = (3.0, 1.0, 1.0)
ALL = np.ones((20, 30, 30))


@pytest.fixture
def image():
    texture = gaussian_filter(np.random.default_rng(1).normal(size=ALL.shape), 2)
    return (texture / texture.std()).astype(np.float32)


def test_an_image_and_any_relabelling_of_it_share_all_information(image):
    steps = np.digitize(image, np.linspace(-2, 2, 9)).astype(float)
    relabelled = np.take([3, 8, 1, 9, 2, 7, 0, 6, 4, 5], steps.astype(int)).astype(float)
    assert normalised_mutual_information(steps, steps, ALL) == pytest.approx(2.0)
    assert normalised_mutual_information(steps, relabelled, ALL) == pytest.approx(2.0)


def test_unrelated_noise_shares_almost_nothing():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 40, 50, 50))
    assert normalised_mutual_information(a, b, np.ones(a.shape)) < 1.01


def test_two_by_two_histogram_by_hand():
    # Joint probabilities 1/2, 1/4, 0, 1/4 -> H_AB = 1.5 bit, H_A = 0.811, H_B = 1 bit.
    a = np.array([0, 0, 0, 1.0]).reshape(1, 2, 2)
    b = np.array([0, 0, 1, 1.0]).reshape(1, 2, 2)
    h_a = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))
    found = normalised_mutual_information(a, b, np.ones(a.shape), bins=2)
    assert found == pytest.approx((h_a + 1.0) / 1.5)


def test_two_constants_tell_nothing():
    assert normalised_mutual_information(ALL, ALL, ALL) == 1.0


@pytest.mark.parametrize("measure", ["information", "edges"])
def test_falls_when_the_images_slide_apart(image, measure):
    def score(other):
        if measure == "information":
            return normalised_mutual_information(image, other, ALL)
        return gradient_agreement(image, other, ALL, SPACING)

    scores = [score(-(shift(image, (0, 0, k), mode="nearest") ** 3)) for k in (0, 1, 2, 4)]
    assert scores == sorted(scores, reverse=True)


def test_edges_do_not_care_about_contrast(image):
    same = gradient_agreement(image, image, ALL, SPACING)
    assert gradient_agreement(image, 100 - 7 * image, ALL, SPACING) == pytest.approx(same, rel=1e-3)


def test_edges_at_right_angles_do_not_agree():
    z, y, _ = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in ALL.shape], indexing="ij")
    inside = np.zeros(ALL.shape)
    inside[6:-6, 6:-6, 6:-6] = 1
    assert gradient_agreement(z, y, inside, SPACING) == pytest.approx(0.0, abs=1e-6)
    # Parallel ramps: every squared cosine is 1, halved twice by epsilon = |gradient|; the
    # clipped tails of the ramp cost the rest.
    assert gradient_agreement(z, 2 * z, inside, SPACING) == pytest.approx(0.25, abs=0.01)


def test_voxels_outside_the_mask_do_not_count(image):
    mask = ALL.copy()
    mask[:, :, 15:] = 0
    spoiled = image.copy()
    spoiled[:, :, 15:] = np.nan_to_num(image[:, :, 15:]) * 0 + 1e6
    assert normalised_mutual_information(image, spoiled, mask) == pytest.approx(
        normalised_mutual_information(image, image, mask)
    )


def test_dice_by_hand_and_of_nothing():
    a, b = np.array([1, 1, 1, 0]), np.array([0, 1, 1, 1])
    assert overlap_dice(a, b) == pytest.approx(2 / 3)
    assert overlap_dice(a * 0, b * 0) == 0.0
