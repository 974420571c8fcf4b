import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.keypoints import BODY, NUM_KEYPOINTS
from model.motion import body_speed


def speed(keypoints: np.ndarray, scores: np.ndarray, height: float = 100, seconds: float = 0.1) -> float:
    return float(body_speed(keypoints[:, None], scores[:, None], np.full((2, 1), height), np.array([seconds]))[0])


def test_it_is_box_heights_a_second_of_the_confident_body_keypoints():
    keypoints, scores = np.zeros((2, NUM_KEYPOINTS, 2)), np.full((2, NUM_KEYPOINTS), 0.9)
    keypoints[1, BODY] = (3, 4)
    assert speed(keypoints, scores) == pytest.approx(5 / 100 / 0.1)
    # Neither what the detector is not sure of, before or after, nor a hand counts.
    keypoints[1, 0], scores[0, 0] = (300, 400), 0.3
    keypoints[1, 1], scores[1, 1] = (300, 400), 0.1
    keypoints[1, 91:] = (300, 400)
    assert speed(keypoints, scores) == pytest.approx(5 / 100 / 0.1)


def test_it_is_not_known_without_a_confident_keypoint_a_box_or_time():
    keypoints, scores = np.zeros((2, NUM_KEYPOINTS, 2)), np.full((2, NUM_KEYPOINTS), 0.9)
    assert np.isnan(speed(keypoints, np.zeros_like(scores)))
    assert np.isnan(speed(keypoints, scores, height=0))
    assert np.isnan(speed(keypoints, scores, seconds=0))
    points = np.zeros((2, 0, NUM_KEYPOINTS, 2))
    nobody = body_speed(points, points[..., 0], np.zeros((2, 0)), np.zeros(0))
    assert nobody.shape == (0,)


@given(st.floats(0.1, 10), st.floats(0.01, 10), st.integers(0, 9))
def test_it_does_not_depend_on_the_size_of_the_picture_and_halves_in_twice_the_time(scale, seconds, seed):
    random = np.random.default_rng(seed)
    keypoints, scores = random.uniform(0, 100, (2, NUM_KEYPOINTS, 2)), random.uniform(0.4, 1, (2, NUM_KEYPOINTS))
    base = speed(keypoints, scores, 50, seconds)
    assert speed(keypoints * scale, scores, 50 * scale, seconds) == pytest.approx(base)
    assert speed(keypoints, scores, 50, 2 * seconds) == pytest.approx(base / 2)
