import numpy as np
import pytest

from model.keypoints import FACE, LEFT_HAND, NUM_KEYPOINTS
from pipeline.pose_measures import PARTS, measure
from pipeline.pose_reader import PoseRows, join_rows
from pipeline.pose_table import PoseTableError
from tests.pipeline.pose_output import somebody


def rows(*frames_and_people: tuple[int, int], step: float = 10.0, fps: float = 10.0) -> PoseRows:
    """One row for each (frame, person); everybody goes ``step`` pixels a frame in boxes 200 pixels high."""
    people = [somebody(person, 50 + step * frame) for frame, person in frames_and_people]
    frame, person = (np.array(column, np.int64) for column in zip(*frames_and_people, strict=True))
    return PoseRows(
        frame, frame / fps, person, np.stack([one.box for one in people]), np.stack([one.keypoints for one in people]),
        np.stack([one.scores for one in people]), 640, 480, "u",
    )  # fmt: skip


def test_parts_are_told_apart():
    frame = rows((0, 0))
    frame.scores[0, FACE] = 0.1
    frame.scores[0, LEFT_HAND] = 0.2
    found = measure([frame])
    assert list(PARTS) == ["body", "face", "left_hand", "right_hand", "feet"]
    assert found.confidence[0] == pytest.approx([0.9, 0.1, 0.2, 0.9, 0.9])
    assert found.reliable.tolist() == [[False, True]]
    assert found.quality[0] == pytest.approx((0.9 + 0.1 + 0.2 + 0.9) / 4)
    assert found.area[0] == pytest.approx(100 * 200)


def test_speed_is_that_of_the_same_person_since_the_frame_before():
    found = measure([rows((0, 0), (0, 1), (1, 1), (1, 0), (3, 0), (4, 0))])
    expected = 10 / 200 / 0.1
    np.testing.assert_allclose(found.speed, [np.nan, np.nan, expected, expected, np.nan, expected], rtol=1e-5)


def test_the_same_is_found_however_the_rows_come_in_chunks():
    everything = rows(*[(frame, person) for frame in range(6) for person in (2, 0, 1) if (frame + person) % 4])
    whole = measure([everything])
    for size in range(1, len(everything.frame) + 1):
        numbers = np.arange(len(everything.frame))
        chunks = [everything[numbers[start : start + size]] for start in range(0, len(numbers), size)]
        found = measure(chunks)
        for name in vars(whole):
            np.testing.assert_array_equal(getattr(found, name), getattr(whole, name), err_msg=f"{name}, {size}")


def test_nobody_at_all_is_no_rows():
    assert len(measure([])) == 0


def test_rows_out_of_order_and_a_person_twice_are_refused():
    with pytest.raises(PoseTableError, match="not in order"):
        measure([rows((1, 0), (0, 0))])
    with pytest.raises(PoseTableError, match="not in order"):
        measure([rows((1, 0)), rows((0, 0))])
    with pytest.raises(PoseTableError, match="frame 1 has person 0 twice"):
        measure([rows((0, 0), (1, 0)), rows((1, 0))])


def test_rows_are_joined_one_after_the_other():
    joined = join_rows(rows((0, 0)), rows((1, 0), (2, 0)))
    assert joined.frame.tolist() == [0, 1, 2]
    assert joined.keypoints.shape == (3, NUM_KEYPOINTS, 2)
