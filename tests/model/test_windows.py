import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.windows import Windows, balanced_windows, released_windows

BOTH = pytest.mark.parametrize("windows_of", [balanced_windows, released_windows])


@st.composite
def numbers(draw) -> tuple[int, int, int]:
    window = draw(st.integers(2, 90))
    return draw(st.integers(1, 400)), window, draw(st.integers(0, window - 2))


def shared(windows: Windows) -> list[int]:
    """How many driving frames each window has in common with the one before."""
    return [len(set(a) & set(b)) - 1 for a, b in itertools.pairwise(windows)]


@BOTH
@settings(max_examples=200, deadline=None)
@given(numbers())
def test_windows_cover_every_frame_in_order_and_none_is_longer_than_asked(windows_of, numbers):
    frames, window, overlap = numbers
    windows = windows_of(frames, window, overlap)
    assert {frame for members in windows for frame in members} == set(range(frames))
    assert windows[-1][-1] == frames - 1
    for members in windows:
        assert members[0] == 0
        assert len(members) <= window
        assert list(members[1:]) == list(range(members[-1] - len(members) + 2, members[-1] + 1))


@settings(max_examples=200, deadline=None)
@given(numbers())
def test_balanced_windows_share_exactly_the_overlap_and_are_even(numbers):
    frames, window, overlap = numbers
    windows = balanced_windows(frames, window, overlap)
    lengths = [len(members) for members in windows]
    assert max(lengths) - min(lengths) <= 1
    assert shared(windows) == [overlap] * (len(windows) - 1)


@settings(max_examples=200, deadline=None)
@given(numbers())
def test_balanced_windows_are_as_few_as_can_be(numbers):
    frames, window, overlap = numbers
    count = len(balanced_windows(frames, window, overlap))
    fewer_hold = (count - 1) * (window - 1 - overlap) + overlap
    assert count == 1 or fewer_hold < frames - 1


@pytest.mark.parametrize("index", range(20))
def test_released_windows_are_the_released_ones(golden, index):
    case = golden.tables["windows"][index]
    windows = released_windows(case["num_frames"], case["tile_size"], case["overlap"])
    assert len(windows) == case["n_windows"]
    assert [members[1] for members in windows] == case["starts"]
    assert [members[-1] for members in windows] == case["ends"]
    assert {len(members) for members in windows} == {case["tile_size"]}


def test_no_released_case_is_left_out(golden):
    assert len(golden.tables["windows"]) == 20


@BOTH
def test_a_video_shorter_than_a_window_is_one_short_window(windows_of):
    assert windows_of(1, 8, 3) == ((0,),)
    assert windows_of(2, 8, 3) == ((0, 1),)
    assert windows_of(8, 8, 3) == (tuple(range(8)),)


@BOTH
def test_without_overlap_no_frame_is_skipped_or_computed_twice(windows_of):
    assert windows_of(7, 4, 0) == ((0, 1, 2, 3), (0, 4, 5, 6))


def test_one_frame_too_many_for_a_window_costs_the_overlap_and_not_a_second_full_window():
    frames, window, overlap = 73, 72, 6
    balanced = balanced_windows(frames, window, overlap)
    assert [len(members) - 1 for members in balanced] == [39, 39]
    assert sum(len(members) - 1 for members in balanced) == frames - 1 + overlap
    assert [len(members) for members in released_windows(frames, window, overlap)] == [72, 72]


@BOTH
@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 8, 3), "frames is 0"),
        ((20, 1, 0), "window is 1"),
        ((20, 8, 8), "overlap is 8, expected 0 to"),
        ((3, 8, 9), "overlap is 9"),
        ((20, 8, -1), "overlap is -1"),
    ],
)
def test_numbers_that_cannot_work_are_named(windows_of, numbers, message):
    with pytest.raises(ValueError, match=message):
        windows_of(*numbers)


def test_balanced_windows_that_would_not_advance_are_refused():
    assert len(balanced_windows(20, 8, 6)) == 13
    with pytest.raises(ValueError, match="overlap is 7, expected 0 to 6"):
        balanced_windows(20, 8, 7)
