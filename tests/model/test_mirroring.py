import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.keypoints import BODY_NAMES, LEFT_HAND, NUM_KEYPOINTS, RIGHT_HAND, PoseSequence
from model.mirroring import MIRROR, mirrored, mirrored_points
from pipeline.figures.skeleton import face_template


def test_every_left_part_becomes_the_right_one_of_that_name():
    for place, name in enumerate(BODY_NAMES):
        other = name.replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")
        assert BODY_NAMES[MIRROR[place]] == other
    assert MIRROR[17:23].tolist() == [20, 21, 22, 17, 18, 19]
    assert (MIRROR[LEFT_HAND] == np.arange(112, 133)).all()
    assert (MIRROR[RIGHT_HAND] == np.arange(91, 112)).all()


def test_a_face_that_is_alike_on_both_sides_looks_the_same_in_the_mirror():
    points = np.zeros((NUM_KEYPOINTS, 2))
    points[23:91] = face_template()[:, :2]
    # A mirror about x = 0.
    np.testing.assert_allclose(mirrored_points(points, 1)[23:91], points[23:91], atol=1e-9)


@given(st.integers(0, 1000), st.integers(16, 500))
def test_twice_in_the_mirror_is_as_before(seed, width):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, width, (2, 2))
    poses = PoseSequence(
        rng.uniform(0, width, (2, NUM_KEYPOINTS, 2)).astype(np.float32),
        rng.uniform(0, 1, (2, NUM_KEYPOINTS)).astype(np.float32),
        np.concatenate([low, low + 5], axis=1).astype(np.float32),
        np.ones(2, np.float32),
        np.ones(2, np.int32),
        width,
        64,
    )
    again = mirrored(mirrored(poses))
    np.testing.assert_allclose(again.keypoints, poses.keypoints, atol=1e-3)
    np.testing.assert_array_equal(again.scores, poses.scores)
    np.testing.assert_allclose(again.boxes, poses.boxes, atol=1e-3)
    assert (mirrored(poses).boxes[:, 2] > mirrored(poses).boxes[:, 0]).all()
