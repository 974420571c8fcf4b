import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.estimators.tracking import PATIENCE, BoxTracker, box_ious, count_people, follow_person
from model.keypoints import NUM_KEYPOINTS, PersonPose


def box(x: float, y: float = 0, width: float = 100, height: float = 200) -> np.ndarray:
    return np.array([x, y, x + width, y + height], np.float32)


def person(track: int, x: float = 0, width: float = 100) -> PersonPose:
    keypoints = np.full((NUM_KEYPOINTS, 2), x, np.float32)
    return PersonPose(track, keypoints, np.full(NUM_KEYPOINTS, 0.5, np.float32), box(x, width=width), 0.75)


def test_overlap_of_boxes():
    ious = box_ious(np.array([[0, 0, 2, 2], [5, 5, 5, 5]]), np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2, 0, 4, 2]]))
    np.testing.assert_allclose(ious, [[1, 1 / 3, 0], [0, 0, 0]])


def test_ids_stay_when_the_boxes_change_order():
    tracker = BoxTracker()
    assert tracker.update(np.stack([box(0), box(300)])) == [0, 1]
    assert tracker.update(np.stack([box(310), box(10)])) == [1, 0]


def test_the_better_overlap_wins_a_box_that_two_tracks_want():
    tracker = BoxTracker()
    tracker.update(np.stack([box(0), box(60)]))
    assert tracker.update(np.stack([box(50), box(110)])) == [1, 0]


def test_a_newcomer_gets_a_fresh_id():
    tracker = BoxTracker()
    tracker.update(box(0)[None])
    assert tracker.update(np.stack([box(0), box(300)])) == [0, 1]


def test_somebody_hidden_for_a_while_comes_back_as_the_same():
    tracker = BoxTracker()
    tracker.update(np.stack([box(0), box(300)]))
    for _ in range(PATIENCE - 1):
        tracker.update(box(0)[None])
    assert tracker.update(np.stack([box(0), box(305)])) == [0, 1]


def test_somebody_hidden_for_long_is_forgotten():
    tracker = BoxTracker()
    tracker.update(np.stack([box(0), box(300)]))
    for _ in range(PATIENCE + 1):
        tracker.update(box(0)[None])
    assert tracker.update(np.stack([box(0), box(305)])) == [0, 2]


def test_at_a_cut_everybody_takes_the_nearest_id():
    tracker = BoxTracker()
    tracker.update(np.stack([box(0), box(900)]))
    assert tracker.update(np.stack([box(1300), box(300)])) == [1, 0]


def test_a_lone_dancer_who_leaves_the_picture_is_the_one_who_comes_back():
    tracker = BoxTracker()
    tracker.update(box(0)[None])
    for _ in range(3 * PATIENCE):
        assert tracker.update(np.zeros((0, 4))) == []
    assert tracker.update(box(700)[None]) == [0]


def test_known_ids_are_kept_and_not_given_twice():
    tracker = BoxTracker()
    tracker.update(np.stack([box(0), box(300)]))
    assert tracker.update(np.stack([box(300), box(310)]), known=[0, None]) == [0, 1]


PACES = st.floats(3, 20)


@given(PACES, PACES, st.sampled_from([0, 1]), st.sampled_from([None, 0, 1]))
def test_two_who_pass_each_other_keep_their_ids(right, left, in_front, kept):
    """Of two who are nearly at one place one is found, ``in_front``; an estimator that follows has the ``kept`` id."""
    tracker, ids = BoxTracker(), [0, 1]
    for frame in range(-30, 31):
        both = np.stack([box(right * frame), box(-left * frame)])
        if abs((right + left) * frame) < 60:
            tracker.update(both[[in_front]], () if kept is None else [kept])
            ids = [kept if person == in_front else None for person in (0, 1)]
        else:
            ids = tracker.update(both, () if kept is None or frame == -30 else ids)
            assert frame > 0 or ids == [0, 1]
    assert ids == [0, 1]


def test_who_comes_back_where_they_would_be_by_now_is_the_same():
    tracker = BoxTracker()
    for frame in range(12):
        tracker.update(np.stack([box(0), box(300 + 20 * frame)]))
    for _ in range(10):
        tracker.update(box(0)[None])
    assert tracker.update(np.stack([box(0), box(300 + 20 * 22)])) == [0, 1]


def test_the_first_person_is_the_largest_and_longest_in_view():
    large_but_brief = [person(7, x=1, width=300)]
    frames = [[person(3, x=2), *large_but_brief], [person(3, x=4)], [], [person(3, x=5)], [person(3, x=6)]]
    first, second = follow_person(frames, 640, 480), follow_person(frames, 640, 480, person=2)
    assert first.keypoints[:, 0, 0].tolist() == [2, 4, 0, 5, 6]
    assert first.seen.tolist() == [True, True, False, True, True]
    assert first.people.tolist() == second.people.tolist() == [2, 1, 0, 1, 1]
    assert second.seen.tolist() == [True, False, False, False, False]
    np.testing.assert_array_equal(second.boxes[0], box(1, width=300))
    assert (second.box_scores[0], second.width, second.height) == (0.75, 640, 480)


@pytest.mark.parametrize("wanted", [0, 3])
def test_a_person_beyond_those_found_is_refused(wanted):
    with pytest.raises(ValueError, match="counted from 1" if wanted == 0 else "2 found"):
        follow_person([[person(0), person(1)]], 640, 480, person=wanted)


def test_nobody_anywhere_is_an_empty_sequence():
    sequence = follow_person([[], []], 640, 480)
    assert len(sequence) == 2
    assert not sequence.seen.any()
    assert not sequence.people.any()


def test_blips_do_not_count_as_people():
    blip, brief, passer_by = [person(1)], [person(2)], [person(3)]
    long = [[person(0)] for _ in range(1000)]
    long[10] = long[10] + blip
    for index in range(100, 120):
        long[index] = long[index] + passer_by
    assert count_people(long) == 2
    assert count_people([[person(0)]] * 9 + [brief]) == 2
    assert count_people([[person(0), person(1)]]) == 2
    assert count_people([]) == count_people([[]]) == 0
