import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clips import CUT, DARK, NOBODY, SEVERAL, STILL, ClipSettings, motion, stretches, timeline
from pipeline.pose_measures import PARTS, Measures


def measures(rows: list[tuple[int, int, float, float]], areas: list[float] | None = None) -> Measures:
    """Rows of (frame, person, body confidence, speed)."""
    frame, person, confidence, speed = (np.array(column) for column in zip(*rows, strict=True)) if rows else [[]] * 4
    return Measures(
        frame=np.asarray(frame, np.int64),
        person=np.asarray(person, np.int64),
        area=np.asarray(areas if areas is not None else np.ones(len(rows)), np.float32),
        confidence=np.tile(np.asarray(confidence, np.float32)[:, None], (1, len(PARTS))),
        reliable=np.zeros((len(rows), 2), bool),
        quality=np.asarray(confidence, np.float32),
        speed=np.asarray(speed, np.float32),
    )


def one_person(frames: int, confidence: float = 0.9, speed: float = 1.0) -> list[tuple[int, int, float, float]]:
    return [(frame, 0, confidence, speed) for frame in range(frames)]


def found(
    rows: list[tuple[int, int, float, float]],
    frames: int,
    cuts: tuple[int, ...] = (),
    length: int = 16,
    **chosen: object,
) -> list[tuple[int, int, str | None]]:
    settings = ClipSettings(length=(length,), **chosen)
    line = timeline(measures(rows), frames, cuts, settings)
    return [(part.start, part.stop, part.reason) for part in stretches(line, length, settings)]


def test_a_person_who_moves_gives_clips_side_by_side_and_a_rest_too_short_for_one():
    assert found(one_person(40), 40) == [(0, 16, None), (16, 32, None), (32, 40, CUT)]


def test_a_cut_is_never_crossed():
    assert found(one_person(50), 50, cuts=(0, 20)) == [
        (0, 16, None), (16, 20, CUT), (20, 36, None), (36, 50, CUT)
    ]  # fmt: skip


def test_frames_with_nobody_are_left_out_and_say_why_the_rest_before_them_was_too_short():
    rows = [row for row in one_person(60) if not 20 <= row[0] < 30]
    assert found(rows, 60) == [
        (0, 16, None), (16, 20, NOBODY), (20, 30, NOBODY), (30, 46, None), (46, 60, CUT)
    ]  # fmt: skip
    assert found([], 5) == [(0, 5, NOBODY)]
    assert found([], 0) == []


def test_several_people_are_left_out_unless_the_main_one_is_wanted():
    rows = sorted([*one_person(60), *((frame, 1, 0.9, 1.0) for frame in range(16, 40))])
    assert found(rows, 60) == [(0, 16, None), (16, 40, SEVERAL), (40, 56, None), (56, 60, CUT)]
    assert found(rows, 60, people="main") == [(0, 16, None), (16, 32, None), (32, 48, None), (48, 60, CUT)]


def test_the_main_person_is_the_largest_and_longest_in_view_of_each_shot():
    rows = sorted([*one_person(40), *((frame, 1, 0.9, 1.0) for frame in range(40))])
    areas = [2.0 if (person == 0) == (frame < 20) else 1.0 for frame, person, _, _ in rows]
    settings = ClipSettings(people="main")
    line = timeline(measures(rows, areas), 40, (20,), settings)
    assert line.person.tolist() == [0] * 20 + [1] * 20
    assert timeline(measures(rows), 40, (), settings).person.tolist() == [0] * 40


def test_a_false_find_of_a_moment_is_nobody():
    rows = sorted([*one_person(32), *((frame, 1, 0.9, 1.0) for frame in range(16, 17))])
    assert found(rows, 32) == [(0, 16, None), (16, 32, None)]


def test_a_clip_is_of_one_person_even_without_a_cut_between_two():
    rows = [(frame, int(frame >= 20), 0.9, 1.0) for frame in range(40)]
    assert found(rows, 40) == [(0, 16, None), (16, 20, SEVERAL), (20, 36, None), (36, 40, CUT)]


def test_frames_that_are_too_dark_are_left_out():
    rows = [(frame, 0, 0.1 if 20 <= frame < 24 else 0.9, 1.0) for frame in range(48)]
    assert found(rows, 48) == [
        (0, 16, None), (16, 20, DARK), (20, 24, DARK), (24, 40, None), (40, 48, CUT)
    ]  # fmt: skip
    assert found(rows, 48, min_confidence=0.05)[-1] == (32, 48, None)


def test_a_clip_begins_where_there_is_enough_motion():
    rows = [(frame, 0, 0.9, 1.0 if 30 <= frame < 46 else 0.0) for frame in range(80)]
    # 15 speeds in a clip of 16 frames: 0.05 is reached with the first of the moving ones.
    assert found(rows, 80) == [(0, 15, STILL), (15, 31, None), (31, 47, None), (47, 80, STILL)]
    assert found(rows, 80, min_motion=0) == [(i, i + 16, None) for i in range(0, 80, 16)]
    assert found(one_person(40, speed=np.nan), 40) == [(0, 40, STILL)]


def test_clips_overlap_only_where_it_is_asked_for():
    assert found(one_person(40), 40, overlap=8) == [(0, 16, None), (8, 24, None), (16, 32, None), (24, 40, None)]
    assert found(one_person(45), 45, overlap=8)[-1] == (40, 45, CUT)


def test_motion_is_that_of_the_frames_of_a_clip_alone():
    rows = [(frame, 0, 0.9, speed) for frame, speed in enumerate([9.0, 1.0, np.nan, 3.0, 9.0])]
    line = timeline(measures(rows), 5, (), ClipSettings())
    assert motion(line, 0, 4) == 2.0
    assert motion(line, 1, 3) is None


def test_poses_and_cuts_outside_of_the_video_are_refused():
    with pytest.raises(ValueError, match="frames 0 to 39, the video has 30"):
        timeline(measures(one_person(40)), 30, (), ClipSettings())
    with pytest.raises(ValueError, match=r"cuts at \[40\], the video has frames 0 to 39"):
        timeline(measures(one_person(40)), 40, (40,), ClipSettings())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("length", (1,)), ("length", ()), ("length", (16, 16)), ("overlap", 16), ("overlap", -1), ("people", "both"),
        ("min_confidence", 1.5), ("min_motion", -1.0), ("min_motion", float("nan")),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_named(name, value):
    with pytest.raises(ValueError, match=name):
        ClipSettings(**{name: value})


@st.composite
def videos(draw):
    """Up to three people who come and go, of any confidence and speed, with cuts anywhere."""
    frames = draw(st.integers(0, 60))
    rows = []
    for person in range(draw(st.integers(0, 3))):
        for _ in range(draw(st.integers(1, 2))):
            first = draw(st.integers(0, 59))
            last = draw(st.integers(first, 60))
            confidence = draw(st.sampled_from([0.1, 0.5, 0.9]))
            speeds = draw(st.sampled_from([(0.0,), (1.0,), (np.nan,), (0.0, 0.0, 0.4), (np.nan, 0.2)]))
            rows += [(frame, person, confidence, speeds[frame % len(speeds)]) for frame in range(first, last)]
    unique = {(frame, person): (frame, person, *rest) for frame, person, *rest in rows if frame < frames}
    cuts = draw(st.lists(st.integers(0, frames - 1), max_size=4)) if frames else []
    return frames, [unique[key] for key in sorted(unique)], sorted(set(cuts))


@given(videos(), st.integers(2, 20), st.sampled_from(["alone", "main"]))
def test_every_frame_is_in_one_stretch_and_clips_are_what_was_asked_for(made, length, people):
    frames, rows, cuts = made
    settings = ClipSettings(length=(length,), people=people, min_motion=0.1)
    line = timeline(measures(rows), frames, cuts, settings)
    parts = list(stretches(line, length, settings))
    assert [frame for part in parts for frame in range(part.start, part.stop)] == list(range(frames))

    in_view = {(frame, person): confidence for frame, person, confidence, _ in rows}

    def fits(start: int) -> bool:
        """Whether a clip could stand here, found out the plain way."""
        inside = range(start, start + length)
        if start + length > frames or any(cut in inside[1:] for cut in cuts):
            return False
        (who, *others) = {int(line.person[frame]) for frame in inside}
        if who == -1 or others or min(in_view[frame, who] for frame in inside) < settings.min_confidence:
            return False
        return (motion(line, start, start + length) or 0) >= settings.min_motion - 1e-9

    clips = [part for part in parts if part.reason is None]
    assert all(part.stop - part.start == length and fits(part.start) for part in clips)
    # As many as fit: the earliest next one, again and again, is the most that can be had.
    most, position = 0, 0
    while position < frames:
        most, position = (most + 1, position + length) if fits(position) else (most, position + 1)
    assert len(clips) == most
    for part, following in itertools.pairwise(parts):
        if part.reason == CUT:
            assert following.start in cuts
    for part in parts:
        assert len(set(line.person[part.start : part.stop].tolist())) == 1
