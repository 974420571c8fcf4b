import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clips import ClipSettings, Stretch, timeline
from pipeline.reference_frames import GOOD_ENOUGH, ReferenceFrames
from tests.pipeline.test_clips import measures


def reference(quality: list[float], start: int, stop: int, cuts: tuple[int, ...] = ()) -> int:
    made = measures([(frame, 0, 0.9, 1.0) for frame in range(len(quality))])
    made.quality[:] = quality
    return ReferenceFrames(timeline(made, len(quality), cuts, ClipSettings())).of(
        Stretch(stop - start, start, stop, None)
    )


def test_the_best_frame_outside_of_the_clip_is_taken():
    assert reference([0.5, 0.8, 0.9, 0.9, 0.95, 0.9], 2, 4) == 4
    assert reference([0.9, 0.5, 0.9, 0.9, 0.9], 2, 4) == 0


def test_the_clips_own_best_is_taken_where_the_others_are_much_worse_or_there_are_none():
    assert reference([0.5, 0.5, 0.7, 0.9, 0.5], 2, 4) == 3
    assert reference([0.82, 0.5, 0.7, 0.9, 0.5], 2, 4) == 0
    assert reference([0.7, 0.9, 0.8], 0, 3) == 1


def test_another_shot_is_no_source():
    assert reference([0.99, 0.9, 0.9, 0.9], 1, 3, cuts=(1,)) == 3
    assert reference([0.99, 0.9, 0.9], 1, 3, cuts=(1,)) == 1


def test_frames_of_others_of_nobody_and_in_the_dark_are_no_source():
    # Person 1 comes after 0; frame 24 is dark, and 25 has nobody.
    rows = [(frame, int(frame >= 12), 0.1 if frame == 24 else 0.9, 1.0) for frame in range(26) if frame != 25]
    made = measures(rows)
    made.quality[:] = np.where(made.frame >= 12, 0.99, 0.9)
    line = timeline(made, 26, (), ClipSettings(length=(12,)))
    references = ReferenceFrames(line)
    assert references.of(Stretch(12, 0, 12, None)) == 0
    assert references.of(Stretch(12, 12, 24, None)) == 12


@given(st.lists(st.sampled_from([0.2, 0.8, 0.85, 0.95, 1.0]), min_size=8, max_size=40), st.integers(0, 30))
def test_no_frame_of_the_shot_would_have_been_a_better_choice(quality, start):
    start = min(start, len(quality) - 4)
    chosen = reference(quality, start, start + 4)
    inside = range(start, start + 4)
    best_inside = max(quality[frame] for frame in inside)
    best_outside = max(value for frame, value in enumerate(quality) if frame not in inside)
    if best_outside >= GOOD_ENOUGH * best_inside:
        assert chosen not in inside
        assert quality[chosen] == best_outside
    else:
        assert chosen in inside
        assert quality[chosen] == best_inside
