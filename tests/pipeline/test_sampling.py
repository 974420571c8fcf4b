import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sampling import ROUNDING_S, frames_at, sample_indices

gaps = st.lists(st.floats(0.002, 3.0), min_size=1, max_size=60)


@given(gaps=gaps, start=st.floats(-5, 5000), fps=st.floats(0.2, 240))
def test_output_lasts_as_long_as_the_source_and_shows_what_is_on_screen(gaps, start, fps):
    timestamps = start + np.concatenate([[0.0], np.cumsum(gaps[:-1])])
    duration = sum(gaps)

    chosen = sample_indices(timestamps, duration, fps)

    assert abs(len(chosen) / fps - duration) <= 1 / fps
    assert np.all(np.diff(chosen) >= 0)
    for i, source in enumerate(chosen):
        time = timestamps[0] + i / fps + ROUNDING_S
        assert timestamps[source] <= time
        assert source == len(timestamps) - 1 or timestamps[source + 1] > time


@pytest.mark.parametrize("fps", [24000 / 1001, 25, 30000 / 1001, 30, 60])
def test_at_its_own_rate_every_frame_once_though_the_container_rounds_to_milliseconds(fps):
    timestamps = np.round(np.arange(500) / fps, 3)

    assert sample_indices(timestamps, 500 / fps, fps).tolist() == list(range(500))


def test_half_the_rate_takes_every_other_frame():
    assert sample_indices(np.arange(10) / 30, 10 / 30, 15).tolist() == [0, 2, 4, 6, 8]


def test_one_frame_of_no_length_is_still_one_frame():
    assert sample_indices(np.array([7.5]), 0.001, 15).tolist() == [0]


def test_at_any_time_it_is_the_frame_that_appeared_last():
    timestamps = np.array([0.5, 0.6, 0.9])
    assert frames_at(timestamps, np.array([0.0, 0.5, 0.59, 0.6, 0.8999, 5.0])).tolist() == [0, 0, 0, 1, 2, 2]


@pytest.mark.parametrize("fps", [30, 500, 1000, 2400])
def test_at_its_own_time_every_frame_is_itself_however_close_the_next(fps):
    timestamps = 3.0 + np.arange(200) / fps
    for off in (0.0, 1e-7, -1e-7):
        assert frames_at(timestamps, timestamps + off).tolist() == list(range(200))


def test_a_time_may_be_a_millisecond_early_where_frames_are_further_apart():
    timestamps = np.arange(10) / 30
    assert frames_at(timestamps, timestamps - 0.9 * ROUNDING_S).tolist() == list(range(10))
