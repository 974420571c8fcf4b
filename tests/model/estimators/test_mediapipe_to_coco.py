import numpy as np
import pytest

from model.estimators.mediapipe_to_coco import whole_body
from model.keypoints import BODY, BODY_NAMES, FACE, FEET, LEFT_HAND, RIGHT_HAND


def test_every_part_comes_from_its_own_landmarks():
    body = np.arange(66, dtype=float).reshape(33, 2)
    body_scores = np.arange(33) / 32
    left, right, mesh = np.full((21, 2), -1.0), np.full((21, 2), -2.0), np.arange(936, dtype=float).reshape(468, 2)
    keypoints, scores = whole_body(body, body_scores, ((left, 0.5), (right, 1.0)), (mesh, 0.25))

    assert (keypoints.dtype, keypoints.shape, scores.shape) == (np.float32, (133, 2), (133,))
    landmark = dict(zip(BODY_NAMES, keypoints[BODY, 0] / 2, strict=True))
    assert (landmark["nose"], landmark["left_eye"], landmark["right_ear"]) == (0, 2, 8)
    assert (landmark["left_wrist"], landmark["right_wrist"], landmark["left_hip"]) == (15, 16, 23)
    assert (keypoints[FEET, 0] / 2).tolist() == [31, 31, 29, 32, 32, 30]
    assert scores[FEET][0] == pytest.approx(31 / 32)
    np.testing.assert_array_equal(keypoints[LEFT_HAND], left)
    np.testing.assert_array_equal(keypoints[RIGHT_HAND], right)
    np.testing.assert_allclose(scores[LEFT_HAND], 0.5 * 15 / 32)
    np.testing.assert_allclose(scores[RIGHT_HAND], 16 / 32)
    face = keypoints[FACE, 0] / 2
    assert (face[0], face[16], face[36], face[45], face[48]) == (127, 356, 33, 263, 61)
    assert face[3] == (132 + 58) / 2
    np.testing.assert_allclose(scores[FACE], 0.25)
