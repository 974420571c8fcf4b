from pathlib import Path

import numpy as np
import pytest

from model.keypoints import BODY_NAMES, NUM_KEYPOINTS
from model.openpose import BODY, FACE, LEFT_HAND, RIGHT_HAND, DrawnPeople, drawn_people, from_released, to_openpose

GOLDEN = Path(__file__).parents[1] / "golden" / "mimicmotion-tiny"

OPENPOSE_BODY_NAMES = [
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
    "right_ear", "left_ear",
]  # fmt: skip


def numbered_keypoints() -> np.ndarray:
    """Keypoint i lies at (i, -i), so an order can be read off the coordinates."""
    index = np.arange(NUM_KEYPOINTS, dtype=np.float32)
    return np.stack([index, -index], axis=-1)


def test_every_body_point_keeps_its_name():
    points, _ = to_openpose(numbered_keypoints(), np.ones(NUM_KEYPOINTS))
    for name, (x, y) in zip(OPENPOSE_BODY_NAMES, points[BODY], strict=True):
        if name != "neck":
            assert BODY_NAMES[int(x)] == name
            assert y == -x


def test_feet_face_and_hands_keep_their_order():
    points, _ = to_openpose(numbered_keypoints(), np.ones(NUM_KEYPOINTS))
    np.testing.assert_array_equal(points[18:24, 0], range(17, 23))
    np.testing.assert_array_equal(points[FACE, 0], range(23, 91))
    np.testing.assert_array_equal(points[LEFT_HAND, 0], range(91, 112))
    np.testing.assert_array_equal(points[RIGHT_HAND, 0], range(112, 133))


@pytest.mark.parametrize(("left", "right", "neck"), [(0.31, 0.9, 1), (0.3, 0.9, 0), (0.9, 0.1, 0)])
def test_neck_is_the_middle_of_the_shoulders_and_counts_only_with_both(left, right, neck):
    scores = np.zeros(NUM_KEYPOINTS)
    scores[[5, 6]] = left, right
    points, points_scores = to_openpose(numbered_keypoints(), scores)
    np.testing.assert_array_equal(points[1], [5.5, -5.5])
    assert points_scores[1] == neck


def test_leading_dimensions_are_kept():
    rng = np.random.default_rng(0)
    keypoints, scores = rng.random((2, 3, NUM_KEYPOINTS, 2)), rng.random((2, 3, NUM_KEYPOINTS))
    points, points_scores = to_openpose(keypoints, scores)
    one, one_scores = to_openpose(keypoints[1, 2], scores[1, 2])
    np.testing.assert_array_equal(points[1, 2], one)
    np.testing.assert_array_equal(points_scores[1, 2], one_scores)


def test_released_dictionary_and_own_split_agree_on_golden_people():
    golden = np.load(GOLDEN / "dwpose_post.npz")
    height, width = golden["image_u8"].shape[:2]
    # Back to the 133 points of COCO-WholeBody, by the order that the names above protect.
    source = to_openpose(numbered_keypoints(), np.ones(NUM_KEYPOINTS))[0][:, 0]
    without_neck = [i for i in range(134) if i != 1]
    keypoints, scores = np.zeros((2, NUM_KEYPOINTS, 2)), np.zeros((2, NUM_KEYPOINTS))
    keypoints[:, source[without_neck].astype(int)] = golden["keypoints134"][:, without_neck]
    scores[:, source[without_neck].astype(int)] = golden["scores134"][:, without_neck]

    own = drawn_people(keypoints, scores, width, height)
    names = ("candidate", "subset", "score", "hands", "hands_score", "faces", "faces_score")
    released = from_released(**{name: golden[name] for name in names})
    for name in DrawnPeople.__dataclass_fields__:
        np.testing.assert_allclose(getattr(own, name), getattr(released, name), rtol=0, atol=1e-12, err_msg=name)


def test_hands_of_the_released_dictionary_are_all_lefts_then_all_rights():
    hands = np.arange(4, dtype=float)[:, None, None] * np.ones((4, 21, 2))
    people = from_released(
        np.zeros((36, 2)), np.full((2, 18), -1), np.zeros((2, 18)), hands, np.zeros((4, 21)), np.zeros((2, 68, 2)),
        np.zeros((2, 68)),
    )  # fmt: skip
    np.testing.assert_array_equal(people.hands[:, :, 0, 0], [[0, 2], [1, 3]])
    assert not people.body_valid.any()


def test_people_of_unequal_number_are_refused():
    with pytest.raises(ValueError, match=r"faces has shape \(2, 68, 2\), expected \(1, 68, 2\)"):
        DrawnPeople(
            np.zeros((1, 18, 2)), np.zeros((1, 18)), np.zeros((1, 18), bool), np.zeros((1, 2, 21, 2)),
            np.zeros((1, 2, 21)), np.zeros((2, 68, 2)), np.zeros((2, 68)),
        )  # fmt: skip
