import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.estimators.blazepose_geometry import (
    Square,
    anchor_centres,
    body_square,
    carry,
    cut_out,
    decode_detections,
    face_square,
    hand_square,
    refine_with_heatmap,
    search_squares,
)


@pytest.mark.parametrize("angle", [0, 0.7, -2.5])
def test_a_point_of_the_cut_out_lies_where_it_was_in_the_frame(angle):
    frame = np.zeros((200, 300, 4), np.uint8)
    cv2.circle(frame, (190, 120), 6, (255, 255, 255, 0), -1)
    picture, to_frame = cut_out(frame, Square(170, 110, 120, angle), 64, cv2.BORDER_CONSTANT)
    assert picture.shape == (64, 64, 3)
    rows, columns = np.nonzero(picture[..., 0] > 128)
    np.testing.assert_allclose(carry(to_frame, np.array([[columns.mean(), rows.mean()]])), [[190, 120]], atol=0.6)


def test_a_body_lying_down_stands_up_in_its_square():
    square = body_square(hips=np.array([100.0, 50.0]), rim=np.array([140.0, 50.0]))
    assert square.angle == pytest.approx(math.pi / 2)
    assert square.side == pytest.approx(2 * 40 * 1.25)


def test_the_square_of_a_hand_reaches_past_its_knuckles():
    knuckles = np.array([50.0, 80.0])
    square = hand_square(wrist=np.array([50.0, 100.0]), index=knuckles, pinky=knuckles)
    assert math.sin(square.angle) == pytest.approx(0)
    assert (square.x, square.y, square.side) == pytest.approx((50, 80 - 4, 108))


def test_the_square_of_a_face_has_level_eyes_and_room_above():
    eyes_nose_mouth_ears = np.array([[40, 50], [60, 50], [50, 60], [50, 70], [30, 55], [70, 55]], float)
    square = face_square(eyes_nose_mouth_ears)
    assert square == pytest.approx((50, 60 - 2, 80, 0))
    nodding = np.array([[45, 20], [55, 20], [50, 60], [50, 70], [40, 55], [60, 55]], float)
    assert face_square(nodding) == pytest.approx((50, 45 - 5, 100, 0))


@pytest.mark.parametrize("size", [(1000, 900), (1920, 1080), (608, 1080), (3000, 500)])
def test_the_search_leaves_no_part_of_the_frame_to_the_whole_view_alone(size):
    width, height = size
    whole, *parts = search_squares(*size)
    assert whole.side == max(size)
    if max(size) < 1.2 * min(size):
        assert not parts
        return
    along = sorted(part.x if width > height else part.y for part in parts)
    half = min(size) / 2
    assert along[0] - half == 0
    assert along[-1] + half == max(size)
    assert np.diff(along).max() <= half + 1e-9  # so that somebody half a square wide is whole in one of them


def test_there_are_as_many_anchors_as_the_detectors_have_outputs():
    assert anchor_centres(224, (8, 16, 32, 32, 32)).shape == (2254, 2)
    face = anchor_centres(128, (8, 16, 16, 16))
    assert face.shape == (896, 2)
    np.testing.assert_allclose(face[:3], [[4 / 128, 4 / 128], [4 / 128, 4 / 128], [12 / 128, 4 / 128]])


def test_candidates_of_one_person_become_one_at_their_weighted_mean():
    anchors = np.full((4, 2), 0.5)
    regressions = np.zeros((4, 6), np.float32)
    regressions[:, 2:4] = 20
    regressions[:, 4:6] = [[0, 0], [4, 0], [0, 0], [0, 0]]
    regressions[2, 0] = 40  # another person, 40 pixels to the right
    logits = np.log([0.9 / 0.1, 0.6 / 0.4, 0.8 / 0.2, 0.3 / 0.7])
    first, second = decode_detections(regressions, logits, anchors, 100, 0.5)
    assert (first.score, second.score) == pytest.approx((0.9, 0.8))
    np.testing.assert_allclose(first.points, [[50 + 4 * 0.6 / 1.5, 50]])
    np.testing.assert_allclose(second.points, [[50, 50]])


def test_no_candidate_gives_no_detection():
    assert decode_detections(np.zeros((4, 16)), np.full(4, -9.0), np.zeros((4, 2)), 128, 0.5) == []


def test_a_sure_heat_map_moves_a_landmark_and_an_unsure_one_does_not():
    heatmap = np.full((64, 64, 4), -9, np.float32)
    heatmap[20, 12, 0] = 9  # two cells right of the first point
    heatmap[20, 12, 1] = -1
    heatmap[0, 0, 2] = 9
    points = np.array([[40, 80], [40, 80], [1, 1], [-30, 400]], float)
    refined = refine_with_heatmap(points, heatmap, 256)
    np.testing.assert_allclose(refined[0], [48, 80], atol=0.1)
    np.testing.assert_array_equal(refined[1], points[1])
    np.testing.assert_allclose(refined[2], [0, 0], atol=0.1)
    np.testing.assert_array_equal(refined[3], points[3])


@given(st.integers(0, 2**32 - 1), st.sampled_from([32, 64, 96]))
def test_landmarks_move_to_the_centroid_of_what_of_their_49_cells_is_in_the_heat_map(seed, size):
    rng = np.random.default_rng(seed)
    heatmap = rng.normal(-1.5, 1, (16, 16, 12)).astype(np.float32)
    points = rng.uniform(-0.2 * size, 1.2 * size, (12, 2)).astype(np.float32)
    refined = refine_with_heatmap(points, heatmap, size)
    for joint, (before, after) in enumerate(zip(points, refined, strict=True)):
        column, row = np.floor(before * (16 / size)).astype(int)
        rows, columns = (range(max(place - 3, 0), min(place + 4, 16)) for place in (row, column))
        odds = {(x, y): 1 / (1 + math.exp(-heatmap[y, x, joint])) for y in rows for x in columns}
        if not (0 <= column < 16 and 0 <= row < 16) or max(odds.values()) < 0.5:
            np.testing.assert_array_equal(after, before)
            continue
        centroid = [sum(place[axis] * odd for place, odd in odds.items()) / sum(odds.values()) for axis in (0, 1)]
        np.testing.assert_allclose(after, np.array(centroid) * (size / 16), rtol=1e-4, atol=1e-4)
