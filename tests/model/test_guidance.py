import colorsys
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from model.guidance import draw_guidance, draw_pose_sequence
from model.keypoints import FACE, LEFT_HAND, NUM_KEYPOINTS, RIGHT_HAND, PoseSequence
from model.openpose import DrawnPeople, drawn_people, from_released

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "mimicmotion-tiny" / "pose.npz")


def golden_people(case: int) -> DrawnPeople:
    names = ("candidate", "subset", "score", "hands", "hands_score", "faces", "faces_score")
    return from_released(**{name: GOLDEN[f"set{case}_{name}"] for name in names})


def standing_person(width: float, height: float) -> np.ndarray:
    """(133, 2) pixels: somebody upright in the middle of the picture, arms to the sides."""
    points = np.zeros((NUM_KEYPOINTS, 2))
    points[:17] = [
        (0.50, 0.15), (0.52, 0.13), (0.48, 0.13), (0.55, 0.14), (0.45, 0.14), (0.62, 0.28), (0.38, 0.28), (0.74, 0.38),
        (0.26, 0.38), (0.84, 0.46), (0.16, 0.46), (0.57, 0.54), (0.43, 0.54), (0.58, 0.72), (0.42, 0.72), (0.59, 0.90),
        (0.41, 0.90),
    ]  # fmt: skip
    points[17:23] = (0.5, 0.95)
    turn = np.linspace(0, 2 * np.pi, 68)
    points[FACE] = np.stack([0.5 + 0.06 * np.cos(turn), 0.14 + 0.05 * np.sin(turn)], axis=-1)
    finger, joint = np.divmod(np.arange(20), 4)
    fan = np.stack([0.014 * (joint + 1), 0.012 * (finger - 2)], axis=-1)
    points[LEFT_HAND] = points[9] + np.concatenate([np.zeros((1, 2)), fan])
    points[RIGHT_HAND] = points[10] + np.concatenate([np.zeros((1, 2)), fan * (-1, 1)])
    return points * (width, height)


def draw_plainly(people: DrawnPeople, height: int, width: int) -> np.ndarray:
    """The written rules, word for word: everything at full size, dimmed and reduced as a whole."""
    scale = 2160 / min(height, width)
    size = (int(width * scale), int(height * scale))
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    colours = [
        (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0),
        (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255),
        (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
    ]  # fmt: skip
    limbs = [
        (2, 3), (2, 6), (3, 4), (4, 5), (6, 7), (7, 8), (2, 9), (9, 10), (10, 11), (2, 12), (12, 13), (13, 14),
        (2, 1), (1, 15), (15, 17), (1, 16), (16, 18),
    ]  # fmt: skip
    everybody = range(len(people.body))
    for (first, second), colour in zip(limbs, colours, strict=False):
        a, b = first - 1, second - 1
        for n in everybody:
            score_a, score_b = people.body_scores[n, [a, b]]
            if score_a < 0.3 or score_b < 0.3:
                continue
            (xa, ya), (xb, yb) = people.body[n, [a, b]] * size
            centre, half = (int((xa + xb) / 2), int((ya + yb) / 2)), int(((xa - xb) ** 2 + (ya - yb) ** 2) ** 0.5 / 2)
            angle = int(math.degrees(math.atan2(ya - yb, xa - xb)))
            polygon = cv2.ellipse2Poly(centre, (half, 4), angle, 0, 360, 1)
            cv2.fillConvexPoly(canvas, polygon, [min(255, int(c * score_a * score_b)) for c in colour])
    canvas = (canvas * 0.6).astype(np.uint8)
    for j, colour in enumerate(colours):
        for n in everybody:
            if people.body_valid[n, j]:
                x, y = people.body[n, j] * size
                level = people.body_scores[n, j]
                cv2.circle(canvas, (int(x), int(y)), 4, [min(255, int(c * level)) for c in colour], -1)
    for side in (0, 1):
        for n in everybody:
            points = [(int(x), int(y)) for x, y in people.hands[n, side] * size]
            scores = people.hand_scores[n, side]
            for i in range(20):
                a, b = (0 if i % 4 == 0 else i), i + 1
                if min(*points[a], *points[b]) >= 1:
                    level = int(scores[a] * scores[b] * 255)
                    hue = [min(255, c * level) for c in colorsys.hsv_to_rgb(i / 20, 1, 1)]
                    cv2.line(canvas, points[a], points[b], hue, 2)
            for point, score in zip(points, scores, strict=True):
                if min(point) >= 1:
                    cv2.circle(canvas, point, 4, (0, 0, min(255, int(score * 255))), -1)
    for n in everybody:
        for (x, y), score in zip(people.faces[n] * size, people.face_scores[n], strict=True):
            if min(int(x), int(y)) >= 1:
                cv2.circle(canvas, (int(x), int(y)), 3, [min(255, int(score * 255))] * 3, -1)
    return cv2.resize(canvas, (width, height))[:, :, ::-1]


def random_people(seed: int, people: int) -> DrawnPeople:
    """Poses of any posture and place, partly outside of the picture, with scores from 0 to a little above 1."""
    rng = np.random.default_rng(seed)
    centre, spread = rng.uniform(-0.1, 1.1, (people, 1, 2)), rng.uniform(0.02, 0.5, (people, 1, 1))
    keypoints = centre + spread * rng.normal(size=(people, NUM_KEYPOINTS, 2))
    return drawn_people(keypoints, rng.uniform(0, 1.1, (people, NUM_KEYPOINTS)), 1, 1)


def small_person(seed: int) -> DrawnPeople:
    """Somebody who fills a tenth of the picture, somewhere off its top left corner."""
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(0.3, 0.9, (1, 1, 2)) + 0.03 * rng.normal(size=(1, NUM_KEYPOINTS, 2))
    return drawn_people(keypoints, rng.uniform(0.3, 1, (1, NUM_KEYPOINTS)), 1, 1)


@pytest.mark.parametrize("case", [0, 1, 2])
def test_drawing_has_the_released_bytes(case):
    height, width = (int(side) for side in GOLDEN[f"set{case}_HW"])
    image = draw_guidance(golden_people(case), height, width)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image.transpose(2, 0, 1), GOLDEN[f"set{case}_image"])


# The canvas is reduced block by block where 2160 / size repeats exactly in binary: 3.75, 8.4375, 2 and 11.25 do.
@pytest.mark.parametrize(("height", "width"), [(1024, 576), (256, 256), (1080, 1080), (192, 256), (576, 1000)])
def test_drawing_equals_the_plain_rules_at_any_size(height, width):
    for people in (random_people(0, people=1), random_people(1, people=2), small_person(2)):
        np.testing.assert_array_equal(draw_guidance(people, height, width), draw_plainly(people, height, width))


@pytest.mark.parametrize("side", [100, 448, 704, 2170, 4320])
def test_sizes_that_cannot_be_reduced_block_by_block_have_the_same_bytes_too(side):
    for seed in range(3):
        people = small_person(seed)
        np.testing.assert_array_equal(draw_guidance(people, side, side), draw_plainly(people, side, side))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), people=st.integers(1, 3))
def test_drawing_equals_the_plain_rules_for_any_people(seed, people):
    crowd = random_people(seed, people)
    np.testing.assert_array_equal(draw_guidance(crowd, 256, 256), draw_plainly(crowd, 256, 256))


def test_frames_of_a_sequence_do_not_leave_traces_on_each_other():
    keypoints = np.stack([standing_person(64, 96), standing_person(64, 96) * 0.5, standing_person(64, 96)])
    frames = 3
    sequence = PoseSequence(
        keypoints.astype(np.float32),
        np.full((frames, NUM_KEYPOINTS), 0.8, np.float32),
        np.zeros((frames, 4), np.float32),
        np.ones(frames, np.float32),
        np.ones(frames, np.int32),
        64,
        96,
    )
    images = list(draw_pose_sequence(sequence, 192, 128))
    for index, image in enumerate(images):
        people = drawn_people(sequence.keypoints[index, None], sequence.scores[index, None], 64, 96)
        np.testing.assert_array_equal(image, draw_plainly(people, 192, 128))
    np.testing.assert_array_equal(images[0], images[2])


def test_nobody_is_a_black_image():
    images = list(draw_pose_sequence(PoseSequence.empty(2, 640, 360), 64, 128))
    assert [image.shape for image in images] == [(64, 128, 3)] * 2
    assert not np.any(images)
    no_person = drawn_people(np.zeros((0, NUM_KEYPOINTS, 2)), np.zeros((0, NUM_KEYPOINTS)), 640, 360)
    assert not draw_guidance(no_person, 64, 128).any()


def test_a_keypoint_without_score_covers_nothing():
    scores = np.full((1, NUM_KEYPOINTS), 0.9, np.float32)
    scores[:, LEFT_HAND] = 0
    images: list[np.ndarray] = []
    for place in ((0.0, 0.0), (0.68, 0.33)):  # outside of what is drawn, and on the left upper arm
        person = standing_person(256, 256)
        person[LEFT_HAND] = np.array(place) * 256
        sequence = PoseSequence(
            person[None].astype(np.float32), scores, np.zeros((1, 4), np.float32), np.ones(1, np.float32),
            np.ones(1, np.int32), 256, 256,
        )  # fmt: skip
        images += draw_pose_sequence(sequence, 256, 256)
    assert images[0].any()
    np.testing.assert_array_equal(images[1], images[0])


@settings(max_examples=15, deadline=None)
@given(scores=st.lists(st.floats(0.31, 1.2), min_size=2, max_size=2))
def test_surer_keypoints_are_never_drawn_darker(scores):
    person = standing_person(1, 1)[None]
    dark, bright = (
        draw_guidance(drawn_people(person, np.full((1, NUM_KEYPOINTS), score), 1, 1), 128, 128).astype(int)
        for score in sorted(scores)
    )
    assert (bright >= dark).all()


def test_scores_above_one_saturate():
    person = standing_person(1, 1)[None]
    image = draw_guidance(drawn_people(person, np.full((1, NUM_KEYPOINTS), 1e200), 1, 1), 128, 128)
    assert image.max() == 255


coordinates = st.one_of(
    st.floats(-2, 2), st.floats(-20, 20), st.floats(allow_nan=True, allow_infinity=True), st.just(1e9 / 256)
)


@settings(max_examples=40, deadline=None)
@given(
    keypoints=npst.arrays(np.float64, (1, NUM_KEYPOINTS, 2), elements=coordinates),
    scores=npst.arrays(np.float64, (1, NUM_KEYPOINTS), elements=st.one_of(st.floats(-1, 2), st.floats())),
)
def test_no_coordinate_and_no_score_breaks_the_drawing(keypoints, scores):
    with np.errstate(all="ignore"):
        image = draw_guidance(drawn_people(keypoints, scores, 1, 1), 64, 64)
    assert image.shape == (64, 64, 3)


def test_scores_that_are_not_numbers_draw_nothing():
    for score in (np.nan, np.inf):
        people = drawn_people(standing_person(1, 1)[None], np.full((1, NUM_KEYPOINTS), score), 1, 1)
        # The neck has no score of its own, and a dot.
        assert np.count_nonzero(draw_guidance(people, 64, 64).any(axis=-1)) < 10


def test_a_point_at_nowhere_takes_only_its_own_lines_along():
    person, scores = standing_person(1, 1)[None], np.full((1, NUM_KEYPOINTS), 0.9)
    whole = draw_guidance(drawn_people(person, scores, 1, 1), 256, 256)
    person[0, 9] = 1e9
    torn = draw_guidance(drawn_people(person, scores, 1, 1), 256, 256)
    assert not np.array_equal(torn, whole)
    np.testing.assert_array_equal(torn[140:], whole[140:])
    np.testing.assert_array_equal(torn[:, :150], whole[:, :150])
