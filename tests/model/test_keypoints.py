import dataclasses

import numpy as np
import pytest

from model.keypoints import (
    BODY,
    BODY_NAMES,
    FACE,
    FEET,
    LEFT_HAND,
    NUM_KEYPOINTS,
    RELIABLE,
    RIGHT_HAND,
    PoseSequence,
    hand_reliable,
)


def poses(frames: int) -> PoseSequence:
    source = np.random.default_rng(0)
    return PoseSequence(
        keypoints=source.uniform(0, 100, (frames, NUM_KEYPOINTS, 2)).astype(np.float32),
        scores=source.uniform(0.1, 1, (frames, NUM_KEYPOINTS)).astype(np.float32),
        boxes=np.tile(np.array([0, 10, 50, 90], np.float32), (frames, 1)),
        box_scores=np.ones(frames, np.float32),
        people=np.arange(1, frames + 1, dtype=np.int32),
        width=120,
        height=100,
    )


def test_the_parts_are_all_keypoints_once():
    parts = [BODY, FEET, FACE, LEFT_HAND, RIGHT_HAND]
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(NUM_KEYPOINTS))
    assert [part.stop - part.start for part in parts] == [17, 6, 68, 21, 21]
    assert len(BODY_NAMES) == 17


@pytest.mark.parametrize(
    ("name", "shape"),
    [("keypoints", (3, 17, 2)), ("scores", (2, 133)), ("boxes", (3, 2)), ("box_scores", (3, 1)), ("people", (4,))],
)
def test_an_array_of_another_shape_is_named(name, shape):
    with pytest.raises(ValueError, match=rf"PoseSequence\.{name} has shape .*, expected \(3"):
        dataclasses.replace(poses(3), **{name: np.zeros(shape, np.float32)})


@pytest.mark.parametrize("name", ["keypoints", "scores", "boxes", "box_scores"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_none_is_named(name, bad):
    array = getattr(poses(3), name).copy()
    array.flat[-1] = bad
    with pytest.raises(ValueError, match=rf"PoseSequence\.{name} holds a NaN or an infinity"):
        dataclasses.replace(poses(3), **{name: array})


def test_a_range_of_frames_is_the_same_person_in_them():
    whole = poses(5)
    part = whole[1:4]
    assert len(part) == 3
    assert (part.width, part.height) == (120, 100)
    assert part.people.tolist() == [2, 3, 4]
    for name in ("keypoints", "scores", "boxes", "box_scores"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[1:4])


def test_moved_poses_take_their_boxes_along():
    whole = poses(2)
    found = whole.moved(lambda points: points * 2 + (1, -1), 300, 200)
    np.testing.assert_allclose(found.keypoints, whole.keypoints * 2 + (1, -1), rtol=1e-6)
    assert found.boxes.tolist() == [[1, 19, 101, 179]] * 2
    assert found.keypoints.dtype == found.boxes.dtype == np.float32
    assert (found.width, found.height) == (300, 200)
    np.testing.assert_array_equal(found.scores, whole.scores)


def test_a_person_is_seen_where_any_point_has_a_score():
    whole = poses(3)
    whole.scores[0] = 0
    whole.scores[1] = 0
    whole.scores[1, 100] = 0.01
    assert whole.seen.tolist() == [False, True, True]


def test_nobody_is_seen_in_an_empty_sequence():
    nobody = PoseSequence.empty(4, 120, 100)
    assert len(nobody) == 4
    assert not nobody.seen.any()
    assert not nobody.people.any()
    assert len(PoseSequence.empty(0, 1, 1).moved(lambda points: points, 2, 2)) == 0


@pytest.mark.parametrize(("side", "hand", "other"), [("left", LEFT_HAND, "right"), ("right", RIGHT_HAND, "left")])
def test_a_hand_is_reliable_when_each_of_its_keypoints_is_above_the_threshold(side, hand, other):
    scores = np.full((3, NUM_KEYPOINTS), 0.9, np.float32)
    scores[1, hand.start] = RELIABLE
    scores[2, hand.stop - 1] = 0
    assert hand_reliable(scores, side).tolist() == [True, False, False]
    assert hand_reliable(scores, other).all()
