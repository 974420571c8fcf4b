import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from pipeline.contact_sheet import CELL_HEIGHT, SheetFrame, contact_sheet
from pipeline.pose_pictures import SHEET_FRAMES, PosedVideo, sheet, write_overlay
from pipeline.pose_reader import open_pose_file
from pipeline.pose_table import VideoPoses
from pipeline.video import probe_video, read_frames
from tests.pipeline.clips import number_of, write_numbered
from tests.pipeline.pose_output import somebody, video, walking, write_output


def posed(poses: VideoPoses) -> PosedVideo:
    return PosedVideo(poses.video_id, poses.uri, poses.fps, poses.pts_s)


def table_of(folder: Path, poses: VideoPoses, row_group: int = 1 << 20) -> str:
    return str(write_output(folder, {"t.parquet": [poses]}, row_group=row_group) / "poses" / "t.parquet")


def test_a_sheet_of_a_dance_shows_the_dancer_and_where_she_was_found(dance_poses, tmp_path):
    with open_pose_file(table_of(tmp_path, dance_poses)) as file:
        drawn, trouble = sheet(file, posed(dance_poses), ["a dance"])
        other = dataclasses.replace(posed(dance_poses), uri=str(tmp_path / "gone.mp4"))
        on_black, why = sheet(file, other, ["a dance"])
    assert trouble is None
    assert "no such file" in why
    assert drawn.shape == on_black.shape
    # Both show the legend and the limbs; the studio behind her is only in the one with pictures.
    assert (on_black.max(axis=2) > 100).sum() > 2000
    assert ((drawn == on_black).all(axis=2)).mean() < 0.7
    assert np.median(drawn[-CELL_HEIGHT:].max(axis=2)) > np.median(on_black[-CELL_HEIGHT:].max(axis=2))


def test_a_changed_file_is_not_shown_under_old_poses(dance_poses, tmp_path):
    changed = tmp_path / "dance.mp4"
    changed.write_bytes(Path(dance_poses.uri).read_bytes() + b"\0")
    with open_pose_file(table_of(tmp_path, dance_poses)) as file:
        _, trouble = sheet(file, dataclasses.replace(posed(dance_poses), uri=str(changed)), [])
    assert "no longer the file that the poses were found in" in trouble


def test_a_very_wide_video_has_a_sheet_that_a_jpeg_can_hold():
    person = somebody(0, 300)
    frame = SheetFrame(None, person.keypoints[None], person.scores[None], "")
    drawn = contact_sheet([frame] * SHEET_FRAMES, (8000, 20), [])
    assert max(drawn.shape) < 65_536
    assert drawn.nbytes < 100 << 20


def test_a_video_with_nobody_still_has_a_sheet(tmp_path):
    poses = video("a", [[]] * 30)
    with open_pose_file(table_of(tmp_path, poses)) as file:
        drawn, _ = sheet(file, posed(poses), ["nobody"])
    rows = [shape for shape in [drawn.shape] if shape[0] > 4 * CELL_HEIGHT]
    assert rows, "twelve frames of 640x480 in rows of three"
    assert SHEET_FRAMES == 12


def numbered_video(folder: Path, frames: int, people: list[list]) -> VideoPoses:
    path = write_numbered(folder / "numbered.mp4", frames, fps=10)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with read_frames(path) as source:
        times = [frame.pts_s for frame in source]
    return VideoPoses(digest, str(path), 10, 64, 48, times, people)


def test_an_overlay_shows_each_frame_with_its_own_people(tmp_path, monkeypatch):
    # One person stands at the left up to frame 9, another at the right up to frame 15.
    left, right = somebody(0, 10, size=20), somebody(1, 54, size=20)
    people = [[left, right]] * 10 + [[right]] * 6 + [[]] * 4
    # Batches that end in the middle of a frame.
    monkeypatch.setattr("pipeline.pose_reader.BATCH_ROWS", 3)
    poses = numbered_video(tmp_path, 20, people)
    with open_pose_file(table_of(tmp_path, poses, row_group=3)) as file:
        counted = []
        assert write_overlay(file, posed(poses), tmp_path / "over.mp4", lambda: counted.append(1)) is None
    assert len(counted) == 20
    assert probe_video(tmp_path / "over.mp4").frames == 20
    with read_frames(tmp_path / "over.mp4") as frames:
        for number, frame in enumerate(frames):
            # Grey at half its light lies below.
            assert number_of(np.median(frame.pixels, axis=(0, 1)) * 2) == pytest.approx(number, abs=1)
            # Colour is where somebody is drawn.
            colour = np.ptp(frame.pixels.astype(int), axis=2).max(axis=0) > 15
            assert colour[:32].any() == (number < 10), number
            assert colour[32:].any() == (number < 16), number


def test_an_overlay_of_a_video_that_is_gone_is_on_black(tmp_path):
    poses = video("a", walking(12))
    with open_pose_file(table_of(tmp_path, poses)) as file:
        uri = str(tmp_path / "gone.mp4")
        why = write_overlay(file, dataclasses.replace(posed(poses), uri=uri), tmp_path / "over.mp4", lambda: None)
    assert "gone.mp4" in why
    assert probe_video(tmp_path / "over.mp4").frames == 12


def test_wrists_have_letters_where_they_are_sure():
    def sheet_with(score: float) -> np.ndarray:
        person = somebody(0, 300, score)
        frame = SheetFrame(None, person.keypoints[None], person.scores[None], "")
        return contact_sheet([frame], (640, 480), [])

    white = (235, 235, 235)
    sure, unsure = ((sheet_with(score)[200:] == white).all(axis=2).sum() for score in (0.31, 0.3))
    assert sure > unsure
