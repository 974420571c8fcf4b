import sys

import av
import numpy as np
import pytest
from PIL import Image

from model.estimators.holistic import DETECT_EVERY, Holistic
from model.estimators.holistic_weights import FILES, HOLISTIC_DIGEST, holistic_weights
from model.keypoints import FACE, NUM_KEYPOINTS, RELIABLE, RIGHT_HAND, PersonPose
from pipeline.footage import astronaut_picture, dancer_clip

NOSE, LEFT_ELBOW, RIGHT_ELBOW, LEFT_WRIST, RIGHT_WRIST = 0, 7, 8, 9, 10
SHOULDERS, WRISTS, HIPS, ANKLES = (5, 6), (9, 10), (11, 12), (15, 16)
BLUE = (10, 20, 190)  # of the dancer's studio


@pytest.fixture(scope="module")
def holistic() -> Holistic:
    return Holistic(holistic_weights())


@pytest.fixture(scope="module")
def dancer() -> dict[int, np.ndarray]:
    """Frames of a woman in black, seen from the front, at x 200-310 of 518; a red glove on her left hand."""
    wanted = (0, 40, 80, 120, 160, 320)
    frames = {}
    with av.open(str(dancer_clip())) as clip:
        for index, frame in enumerate(clip.decode(video=0)):
            if index in wanted:
                frames[index] = frame.to_ndarray(format="rgb24")
            if index == wanted[-1]:
                return frames
    raise AssertionError("the clip is shorter than it was")


def strip(frame: np.ndarray) -> np.ndarray:
    """The middle of the dancer's frame, with her in it while her arms are down."""
    return frame[:, 155:355]


def wide(*pictures: tuple[int, np.ndarray], width: int = 1200) -> np.ndarray:
    """A blue picture with others in it at these columns."""
    canvas = np.full((496, width, 3), BLUE, np.uint8)
    for column, picture in pictures:
        canvas[:, column : column + picture.shape[1]] = picture
    return canvas


def only(people: list[PersonPose]) -> PersonPose:
    (person,) = people
    return person


def test_left_and_right_are_the_persons_own(holistic, dancer):
    person = only(next(holistic.track([dancer[0]])))
    for left, right in (SHOULDERS, WRISTS, HIPS, ANKLES):
        assert person.keypoints[left, 0] > person.keypoints[right, 0]
    heights = [person.keypoints[index, 1] for index in (NOSE, *SHOULDERS[:1], *HIPS[:1], *ANKLES[:1])]
    assert heights == sorted(heights)
    assert (person.scores[:17] > RELIABLE).all()


def test_the_red_glove_is_found_on_the_left_hand(holistic, dancer):
    for index in (80, 120, 160):
        person = only(next(holistic.track([dancer[index]])))
        redness = {}
        for elbow, wrist in ((LEFT_ELBOW, LEFT_WRIST), (RIGHT_ELBOW, RIGHT_WRIST)):
            column, row = (1.25 * person.keypoints[wrist] - 0.25 * person.keypoints[elbow]).astype(int)
            red, green, _ = dancer[index][row - 3 : row + 4, column - 3 : column + 4].mean(axis=(0, 1))
            redness[wrist] = red - green
        assert redness[LEFT_WRIST] > 40 > redness[RIGHT_WRIST]


def test_a_hand_hangs_from_its_wrist(holistic, dancer):
    person = only(next(holistic.track([dancer[0]])))
    hand = person.keypoints[RIGHT_HAND]
    assert (person.scores[RIGHT_HAND] > 0.8).all()
    assert np.linalg.norm(hand[0] - person.keypoints[RIGHT_WRIST]) < 12
    assert (hand[5:, 1] > hand[0, 1]).all()
    assert np.ptp(hand, axis=0).max() < 45


def test_a_face_has_its_parts_in_their_places(holistic):
    picture = np.asarray(Image.open(astronaut_picture()).convert("RGB"))
    person = only(next(holistic.track([picture])))
    face = person.keypoints[FACE]
    assert (person.scores[FACE] > 0.9).all()
    jaw, nose, left_eye, right_eye, lips = face[:17], face[30], face[42:48], face[36:42], face[48:68]
    assert left_eye[:, 0].min() > nose[0] > right_eye[:, 0].max()
    assert left_eye[:, 1].max() < nose[1] < lips[:, 1].min() < jaw[8, 1]
    assert jaw[0, 0] < right_eye[:, 0].min()
    assert jaw[16, 0] > left_eye[:, 0].max()
    assert np.linalg.norm(left_eye.mean(axis=0) - person.keypoints[1]) < 12


def test_poses_keep_the_contract(holistic, dancer):
    for people in holistic.track([dancer[0], dancer[40]]):
        person = only(people)
        assert person.keypoints.shape == (NUM_KEYPOINTS, 2)
        assert person.scores.shape == (NUM_KEYPOINTS,)
        assert person.keypoints.dtype == person.scores.dtype == person.box.dtype == np.float32
        assert np.isfinite(person.keypoints).all()
        assert 0 <= person.scores.min() <= person.scores.max() <= 1
        assert 0.5 <= person.box_score <= 1
        x0, y0, x1, y1 = person.box
        assert 180 < x0 < 230 < 290 < x1 < 330
        assert 110 < y0 < 160 < 440 < y1 < 496
    assert (holistic.name, holistic.digest) == ("holistic", HOLISTIC_DIGEST)


def test_two_people_keep_their_ids(holistic, dancer):
    frames = [np.hstack([dancer[first], dancer[second]]) for first, second in ((0, 320), (40, 320), (80, 0), (0, 40))]
    sides: dict[int, list[bool]] = {}
    for people in holistic.track(frames):
        assert len(people) == 2
        for person in people:
            sides.setdefault(person.person_id, []).append(bool(person.keypoints[NOSE, 0] > 518))
    assert sorted(sides.values()) == [[False] * 4, [True] * 4]


def test_nobody_is_found_twice_where_the_hips_were_placed_badly(holistic, dancer, monkeypatch):
    monkeypatch.setattr("model.estimators.holistic.SAME_PLACE", 0)
    assert [len(people) for people in holistic.track([np.hstack([dancer[0], dancer[40]])])] == [2]


def test_no_more_people_are_followed_than_asked_for(dancer):
    one = Holistic(holistic_weights(), max_people=1)
    assert [len(people) for people in one.track([np.hstack([dancer[0], dancer[40]])])] == [1]


def test_somebody_who_joins_is_noticed(holistic, dancer):
    alone, joined = wide((100, strip(dancer[0]))), wide((100, strip(dancer[0])), (800, strip(dancer[40])))
    counts = [len(people) for people in holistic.track([alone] + [joined] * DETECT_EVERY)]
    assert (counts[0], counts[-1]) == (1, 2)


def test_somebody_small_at_the_end_of_a_wide_picture_is_found(holistic, dancer):
    person = only(next(holistic.track([wide((2200, strip(dancer[0])), width=2400)])))
    assert 2200 < person.keypoints[NOSE, 0] < 2400


def test_two_squares_that_come_to_show_one_person_become_one(holistic, dancer):
    narrow = dancer[0][:, 190:320]
    apart, together = wide((520, narrow), (660, narrow)), wide((590, narrow))
    first, second = holistic.track([apart, together])
    assert len(first) == 2
    assert only(second).person_id == 0


@pytest.mark.parametrize("kind", ["noise", "gradient", "black"])
def test_nobody_is_seen_where_nobody_is(holistic, kind):
    frame = {
        "noise": np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8),
        "gradient": np.broadcast_to(np.linspace(0, 255, 320)[None, :, None], (240, 320, 3)).astype(np.uint8),
        "black": np.zeros((240, 320, 3), np.uint8),
    }[kind]
    assert list(holistic.track([frame, frame])) == [[], []]


def test_a_person_is_lost_in_the_dark_and_found_again_elsewhere(holistic, dancer):
    black = np.zeros_like(dancer[0])
    moved = np.roll(dancer[40], -150, axis=1)
    before, *dark, after, still = holistic.track([dancer[0], black, black, moved, moved])
    assert dark == [[], []]
    assert only(before).person_id == only(after).person_id == only(still).person_id
    assert only(after).keypoints[NOSE, 0] < 150


def test_a_call_knows_nothing_of_the_one_before(holistic, dancer):
    first, again = (only(list(holistic.track([dancer[0], dancer[0]]))[-1]) for _ in range(2))
    assert first.person_id == again.person_id == 0
    np.testing.assert_array_equal(first.keypoints, again.keypoints)


def test_frames_are_taken_as_they_are_needed(holistic, dancer):
    taken = []

    def frames():
        for index in (0, 40):
            taken.append(index)
            yield dancer[index]

    next(holistic.track(frames()))
    assert taken == [0]


def test_a_folder_of_other_weights_is_refused(tmp_path):
    for name in FILES:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match="has SHA-256"):
        Holistic(tmp_path)


def test_without_the_runtime_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ImportError, match="pip install ai-edge-litert"):
        Holistic(holistic_weights())
