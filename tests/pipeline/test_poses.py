import hashlib
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.keypoints import NUM_KEYPOINTS, PersonPose
from pipeline.encoding import VideoWriter
from pipeline.inputs import InputError, InputFile
from pipeline.pose_table import VideoPoses, write_pose_table
from pipeline.poses import NobodySeen, at_rate, driving_poses, followed, people_in_frames
from pipeline.storage import Storage
from pipeline.video import Frame, VideoError


def somebody(person_id: int, x: float, size: float = 20) -> PersonPose:
    keypoints = np.full((NUM_KEYPOINTS, 2), x, np.float32)
    box = np.array([x, 0, x + size, size], np.float32)
    return PersonPose(person_id, keypoints, np.full(NUM_KEYPOINTS, 0.9, np.float32), box, 0.9)


class Brightness:
    """Sees one person in each frame, whose keypoints lie at its brightness."""

    name, version, digest = "brightness", "1", "d"
    frames = 0

    def track(self, frames: Iterable[np.ndarray]) -> Iterator[list[PersonPose]]:
        for frame in frames:
            self.frames += 1
            yield [somebody(0, float(frame.mean()))]


def video(path: Path, frames: int = 20) -> InputFile:
    with VideoWriter(path, fps=10) as writer:
        for brightness in np.linspace(0, 200, frames):
            writer.write(np.full((32, 48, 3), brightness, np.uint8))
    return InputFile(str(path), "v", hashlib.sha256(path.read_bytes()).hexdigest())


def nothing(_done: int, _total: int) -> None:
    return


def test_poses_are_estimated_once_for_a_video_and_a_rate(tmp_path):
    driving, storage, estimator = video(tmp_path / "a.mp4"), Storage(str(tmp_path / "out")), Brightness()
    seen: list[tuple[int, int]] = []
    first = driving_poses(driving, 5, estimator, storage, lambda *done: seen.append(done))
    assert (len(first.people), first.width, first.height, estimator.frames) == (10, 48, 32, 10)
    assert seen == [(i, 10) for i in range(1, 11)]
    again = driving_poses(driving, 5, estimator, storage, nothing)
    assert estimator.frames == 10
    np.testing.assert_array_equal(again.people[9][0].keypoints, first.people[9][0].keypoints)
    driving_poses(driving, 10, estimator, storage, nothing)
    assert estimator.frames == 30
    estimator.version = "2"
    driving_poses(driving, 5, estimator, storage, nothing)
    assert estimator.frames == 40


def test_a_picture_that_stays_on_screen_is_looked_at_once(tmp_path):
    driving, estimator = video(tmp_path / "a.mp4"), Brightness()

    poses = driving_poses(driving, 25, estimator, Storage(str(tmp_path / "out")), nothing)

    assert (len(poses.people), estimator.frames) == (50, 20)
    seen = [people[0].keypoints[0, 0] for people in poses.people]
    assert [len(list(same)) for _, same in itertools.groupby(seen)] == [3, 2] * 10


@given(st.lists(st.integers(1, 4), max_size=12), st.integers(0, 5))
def test_every_frame_has_its_own_people_however_far_an_estimator_looks_ahead(repeats, ahead):
    class LooksAhead(Brightness):
        def track(self, frames):
            held = deque()
            for people in super().track(frames):
                held.append(people)
                if len(held) > ahead:
                    yield held.popleft()
            yield from held

    shown = [number for number, times in enumerate(repeats) for _ in range(times)]
    frames = [Frame(i, float(n), np.full((2, 2, 3), n, np.uint8)) for i, n in enumerate(shown)]
    estimator = LooksAhead()

    found = list(people_in_frames(frames, estimator))

    assert [frame.index for frame, _ in found] == list(range(len(shown)))
    assert [people[0].keypoints[0, 0] for _, people in found] == shown
    assert estimator.frames == len(repeats)
    assert len({id(frame.pixels) for frame, _ in found}) == len(repeats)


def test_a_video_that_is_cut_short_is_refused_and_no_poses_are_kept(tmp_path):
    whole = tmp_path / "whole.mp4"
    video(whole, frames=200)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    with pytest.raises(VideoError, match="ends before its header says"):
        driving_poses(InputFile(str(cut), "v", "s"), 5, Brightness(), Storage(str(tmp_path / "out")), nothing)
    assert not (tmp_path / "out").exists()


def test_poses_of_other_contents_are_not_kept_under_those_that_were_asked_for(tmp_path):
    driving, storage = video(tmp_path / "a.mp4"), Storage(str(tmp_path / "out"))
    video(tmp_path / "a.mp4", frames=10)
    with pytest.raises(InputError, match=r"a\.mp4 changed while it was used"):
        driving_poses(driving, 5, Brightness(), storage, nothing)
    assert not storage.sizes("poses")


def test_a_pose_table_drives_without_an_estimator_and_at_another_rate(tmp_path):
    people = [[somebody(0, float(i))] for i in range(30)]
    poses = VideoPoses("v", "u", 30, 64, 64, [i / 30 for i in range(30)], people)
    write_pose_table(tmp_path / "t.parquet", poses, {})
    estimator = Brightness()
    driving = InputFile(str(tmp_path / "t.parquet"), "v", "s")
    found = driving_poses(driving, 10, estimator, Storage(str(tmp_path / "out")), nothing)
    assert estimator.frames == 0
    assert [frame[0].keypoints[0, 0] for frame in found.people] == list(range(0, 30, 3))
    assert len(at_rate(poses, 45).people) == 45


def test_the_person_asked_for_is_followed_and_all_are_counted():
    people = [[somebody(7, 5, size=10), somebody(3, 30, size=30)] for _ in range(20)]
    poses = VideoPoses("v", "u", 10, 64, 64, [i / 10 for i in range(20)], people)
    largest, count = followed(poses, 1)
    assert count == 2
    assert (largest.keypoints == 30).all()
    assert (largest.people == 2).all()
    assert (followed(poses, 2)[0].keypoints == 5).all()
    with pytest.raises(NobodySeen, match="2"):
        followed(poses, 3)
    with pytest.raises(NobodySeen, match="nobody is seen in any of its 2 frames"):
        followed(VideoPoses("v", "u", 10, 64, 64, [0, 0.1], [[], []]), 1)
