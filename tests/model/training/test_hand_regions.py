import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.keypoints import HANDS, LEFT_HAND, NUM_KEYPOINTS, RELIABLE
from model.training.hand_regions import hand_weights

PICTURE, LATENT = (96, 64), (24, 16)


def with_hand(side: str, low: tuple[float, float], high: tuple[float, float], score: float = 0.9):
    """One frame whose only sure keypoints are a hand's, spread from ``low`` to ``high`` (x, y)."""
    keypoints = np.zeros((1, NUM_KEYPOINTS, 2), np.float32)
    scores = np.zeros((1, NUM_KEYPOINTS), np.float32)
    keypoints[0, HANDS[side]] = np.linspace(low, high, 21)
    scores[0, HANDS[side]] = score
    return keypoints, scores


def test_a_box_worked_out_by_hand():
    # 8 wide and 8 high at (20, 40), 4 pixels to a latent pixel; the margin of 0.25 adds 2 pixels on each side:
    # 18..30 and 38..50 touch columns 4 to 7 and rows 9 to 12.
    keypoints, scores = with_hand("left", (20, 40), (28, 48))
    weights = hand_weights(keypoints, scores, PICTURE, LATENT, weight=10, margin=0.25)
    expected = np.ones((1, 24, 16), np.float32)
    expected[0, 9:13, 4:8] = 10
    np.testing.assert_array_equal(weights, expected)


@pytest.mark.parametrize("side", ["left", "right"])
def test_one_doubtful_finger_and_the_hand_weighs_nothing(side):
    keypoints, scores = with_hand(side, (20, 40), (28, 48))
    assert hand_weights(keypoints, scores, PICTURE, LATENT).max() == 10
    scores[0, HANDS[side].start + 20] = RELIABLE
    assert (hand_weights(keypoints, scores, PICTURE, LATENT) == 1).all()


def test_two_hands_in_one_place_count_once():
    keypoints, scores = with_hand("left", (20, 40), (28, 48))
    other, other_scores = with_hand("right", (20, 40), (28, 48))
    both = hand_weights(keypoints + other, scores + other_scores, PICTURE, LATENT)
    np.testing.assert_array_equal(both, hand_weights(keypoints, scores, PICTURE, LATENT))


def test_a_hand_out_of_the_picture_weighs_nothing():
    keypoints, scores = with_hand("left", (-40, 10), (-30, 20))
    assert (hand_weights(keypoints, scores, PICTURE, LATENT) == 1).all()
    keypoints, scores = with_hand("left", (100, 10), (120, 20))
    assert (hand_weights(keypoints, scores, PICTURE, LATENT) == 1).all()


@settings(max_examples=50)
@given(st.floats(-20, 70), st.floats(-20, 100), st.floats(1, 40), st.floats(0, 1), st.sampled_from(["left", "right"]))
def test_every_keypoint_of_a_reliable_hand_in_the_picture_is_weighted(x, y, size, score, side):
    keypoints, scores = with_hand(side, (x, y), (x + size, y + size), np.float32(score))
    weights = hand_weights(keypoints, scores, PICTURE, LATENT)
    assert set(np.unique(weights)) <= {1, 10}
    for column, row in (keypoints[0, HANDS[side]] / 4).astype(int):
        if 0 <= row < 24 and 0 <= column < 16 and (keypoints[0, HANDS[side]] >= 0).all():
            assert weights[0, row, column] == (10 if np.float32(score) > RELIABLE else 1)


@given(st.integers(0, 40), st.integers(0, 80), st.integers(1, 20))
def test_weights_are_mirrored_with_the_picture_and_its_hands(x, y, size):
    keypoints, scores = with_hand("left", (x, y), (x + size, y + size))
    flipped, flipped_scores = with_hand("right", (64 - x, y), (64 - x - size, y + size))
    np.testing.assert_array_equal(
        hand_weights(keypoints, scores, PICTURE, LATENT)[..., ::-1],
        hand_weights(flipped, flipped_scores, PICTURE, LATENT),
    )


@given(st.integers(0, 8), st.integers(0, 12))
def test_weights_move_with_a_crop(columns, rows):
    keypoints, scores = with_hand("left", (30, 50), (40, 60))
    whole = hand_weights(keypoints, scores, PICTURE, LATENT)
    moved = keypoints - np.array([4 * columns, 4 * rows], np.float32)
    cropped = hand_weights(moved, scores, (96 - 4 * rows, 64 - 4 * columns), (24 - rows, 16 - columns))
    np.testing.assert_array_equal(cropped, whole[:, rows:, columns:])


def test_only_frames_with_the_hand_are_weighted():
    keypoints, scores = (np.repeat(array, 3, axis=0) for array in with_hand("left", (20, 40), (28, 48)))
    scores[1, LEFT_HAND] = 0
    assert hand_weights(keypoints, scores, PICTURE, LATENT).max(axis=(1, 2)).tolist() == [10, 1, 10]
