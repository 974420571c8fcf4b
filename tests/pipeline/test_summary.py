from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.estimators.tracking import count_people, follow_person
from model.keypoints import BODY, LEFT_HAND, NUM_KEYPOINTS, RELIABLE, PersonPose
from pipeline.summary import PARTS, SummaryTally, speeds


def pose(person_id: int = 0, x: float = 0, score: float = 0.8, height: float = 100, width: float = 50) -> PersonPose:
    keypoints = np.full((NUM_KEYPOINTS, 2), x, np.float32)
    box = np.array([0, 0, width, height], np.float32)
    return PersonPose(person_id, keypoints, np.full(NUM_KEYPOINTS, score, np.float32), box, 0.9)


def told(*frames: list[PersonPose], fps: float = 10) -> dict:
    tally = SummaryTally()
    for index, people in enumerate(frames):
        tally.add(index / fps, people)
    return tally.columns()


def test_motion_is_box_heights_a_second_of_the_sure_body_keypoints():
    half = pose(x=10)
    half.scores[BODY][8:] = 0
    half.keypoints[BODY][8:] = 1e6
    before = [pose(x=0), pose(x=0, score=RELIABLE), pose(), pose(x=0)]
    after = [pose(x=10), pose(x=10), pose(), half]
    usual, unsure, no_time, without_unsure = speeds(before, after, [0.1, 0.1, 0.0, 0.1])
    assert usual == without_unsure == pytest.approx(10 * 2**0.5 / 100 / 0.1)
    assert np.isnan(unsure)
    assert np.isnan(no_time), "a repeated frame is no time"
    assert told([pose(x=0)], [pose(x=10)], [pose(x=20)])["motion"] == pytest.approx(10 * 2**0.5 / 100 * 10)


def test_no_motion_is_counted_across_a_cut_or_a_gap():
    tally = SummaryTally()
    tally.add(0.0, [pose(x=0)])
    tally.add(0.1, [pose(x=1)])
    tally.add(0.2, [pose(x=400)])
    tally.new_shot()
    tally.add(0.3, [pose(x=401)])
    assert tally.columns()["motion"] == pytest.approx(2**0.5 / 100 * 10)
    assert told([pose(x=0)], [], [pose(x=90)])["motion"] == 0


def test_a_hand_is_reliable_where_every_keypoint_of_it_is_and_counts_over_all_frames():
    unsure = pose()
    unsure.scores[LEFT_HAND.start + 20] = RELIABLE
    facts = told([pose()], [unsure], [], [pose()])
    assert facts["reliable_left_hand"] == 0.5
    assert facts["reliable_right_hand"] == 0.75
    assert facts["confidence_body"] == pytest.approx(0.8), "over the frames in which the person is seen"


def test_a_video_with_nobody_has_no_confidence_and_keeps_its_times():
    facts = told([], [], fps=4)
    assert facts["confidence_body"] is facts["confidence_left_hand"] is None
    assert (facts["frames"], facts["people"], facts["motion"]) == (2, 0, 0)
    assert facts["pts_s"] == [0, 0.25]


people = st.lists(
    st.builds(
        pose,
        person_id=st.integers(0, 3),
        x=st.floats(0, 300),
        score=st.floats(0.01, 1),
        height=st.floats(1, 400),
        width=st.floats(1, 400),
    ),
    max_size=4,
    unique_by=lambda person: person.person_id,
)


@given(st.lists(people, min_size=1, max_size=20))
def test_gathered_frame_by_frame_it_is_what_the_whole_sequence_says(frames):
    facts = told(*frames)
    assert facts["people"] == count_people(frames)
    main = follow_person(frames, 400, 400)
    seen = main.scores[main.seen]
    for name, part in PARTS.items():
        if len(seen):
            assert facts[f"confidence_{name}"] == pytest.approx(float(seen[:, part].mean()), rel=1e-4)
        else:
            assert facts[f"confidence_{name}"] is None
    reliable = (main.scores[:, LEFT_HAND] > RELIABLE).all(axis=1).mean()
    assert facts["reliable_left_hand"] == pytest.approx(float(reliable))


def test_memory_is_of_people_not_of_frames():
    tally = SummaryTally()
    for index in range(1000):
        tally.add(index / 10, [dataclasses.replace(pose(), person_id=index % 3)])
        assert len(tally._waiting) <= 64
    assert len(tally._people) == 3


def test_how_many_are_counted_together_changes_nothing(monkeypatch):
    random = np.random.default_rng(0)

    def walk() -> dict:
        tally = SummaryTally()
        for index, (places, shown) in enumerate(zip(xs, seen, strict=True)):
            if index in (40, 90):
                tally.new_shot()
            tally.add(
                index / 10, [pose(who, x, 0.2 + 0.01 * (index % 70)) for who, x in enumerate(places) if shown[who]]
            )
        return tally.columns()

    xs, seen = random.uniform(0, 300, (150, 3)), random.random((150, 3)) > 0.2
    together = walk()
    monkeypatch.setattr("pipeline.summary._POSES_AT_ONCE", 1)
    assert walk() == together
