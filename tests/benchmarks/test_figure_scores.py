import numpy as np
import pytest

from benchmarks.figure_scores import hand_region, joins, moving_region, psnr, seam_score, ssim
from model.keypoints import LEFT_HAND, NUM_KEYPOINTS


def video(seed: int = 0, frames: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, 16, 16, 3), np.uint8)


def test_psnr_worked_out_by_hand_and_without_wrapping():
    black = np.zeros((1, 4, 4, 3), np.uint8)
    assert psnr(black, black) == float("inf")
    assert psnr(black + 255, black) == pytest.approx(0)
    assert psnr(black, black + 1) == pytest.approx(20 * np.log10(255))
    half = black.copy()
    half[:, :2] = 10
    region = np.zeros((1, 4, 4), bool)
    region[:, :2] = True
    assert psnr(half, black, region) == pytest.approx(20 * np.log10(25.5))
    assert np.isnan(psnr(half, black, np.zeros((1, 4, 4), bool)))


def test_ssim_is_one_for_itself_and_little_for_noise():
    assert ssim(video(), video()) == pytest.approx(1)
    assert ssim(video(1), video(2)) < 0.2


def test_ssim_is_that_of_scikit_image():
    truth = np.random.default_rng(5).integers(0, 256, (1, 24, 20, 3), np.uint8)
    made = (truth // 2 + 60).astype(np.uint8)
    # scikit-image 0.26: structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    assert ssim(made, truth) == pytest.approx(0.8004502220959134, abs=1e-9)


def test_the_moving_region_is_where_the_figure_is_or_was():
    background = np.full((8, 8, 3), 100, np.uint8)
    reference, truth = background.copy(), np.stack([background, background])
    reference[0, 0] = 0
    truth[1, 5, 5] = 0
    region = moving_region(truth, reference, background)
    assert region[:, 0, 0].all()
    assert region[:, 5, 5].tolist() == [False, True]
    assert region.sum() == 3


def test_hands_count_as_in_training():
    keypoints, scores = np.zeros((2, NUM_KEYPOINTS, 2), np.float32), np.zeros((2, NUM_KEYPOINTS), np.float32)
    keypoints[:, LEFT_HAND] = np.linspace((4, 4), (8, 8), 21)
    scores[1, LEFT_HAND] = 0.9
    region = hand_region(keypoints, scores, 16, 16)
    assert not region[0].any()
    assert region[1, 6, 6]
    assert not region[1, 12, 12]
    assert not hand_region(keypoints, np.zeros_like(scores), 16, 16).any()


def test_joins_are_where_windows_begin_and_end():
    found = joins(((0, 1, 2, 3, 4), (0, 4, 5, 6)))
    assert found == [3, 4]


def test_a_jump_where_windows_join_is_a_seam():
    truth = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    made = truth.copy()
    assert seam_score(made, truth, [5]) == pytest.approx(1)
    made[5:] += 4
    assert seam_score(made, truth, [5]) == pytest.approx(5)
    assert np.isnan(seam_score(made, truth, []))
