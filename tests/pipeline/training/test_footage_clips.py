"""Clips of footage show their person, wherever the reference frame does."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileOpener
from hypothesis import given, settings
from hypothesis import strategies as st

from model.framing import LatentGrid
from model.keypoints import NUM_KEYPOINTS, PersonPose
from model.training.batches import TrainingClip
from pipeline.clip_table import KEPT
from pipeline.inputs import InputError, InputOutage
from pipeline.pose_files import PoseFileWriter, contents_table
from pipeline.pose_table import PoseTableError, PoseTableOutage, VideoPoses
from pipeline.training import footage_clips, footage_index
from pipeline.training.footage_clips import FootageClips
from pipeline.training.settings import TrainingSettings
from tests.conftest import ffmpeg
from tests.pipeline.pose_output import write_output

GRID = LatentGrid(4, 8, 16)
SETTINGS = TrainingSettings(frames=5, width=48, height=80)
WIDTH, HEIGHT, FRAMES = 320, 160, 20
STATUSES = [KEPT, KEPT, "cut"]
VIDEO_COLUMNS = pa.schema(
    [("video_id", pa.string()), ("table", pa.string()), ("fingerprint", pa.string()), ("pts_s", pa.list_(pa.float64()))]
)


def somebody(x: float, size: float) -> PersonPose:
    """Keypoints on a line in the middle of a box ``size`` wide, from x on."""
    keypoints = np.stack([np.full(NUM_KEYPOINTS, x + size / 2), np.linspace(15, 145, NUM_KEYPOINTS)], axis=1)
    box = np.array([x, 10, x + size, 150], np.float32)
    return PersonPose(0, keypoints.astype(np.float32), np.full(NUM_KEYPOINTS, 0.9, np.float32), box, 0.9)


def clip_of(folder: Path, before: int, after: int, size: int) -> TrainingClip:
    """A clip of ``clips_of``."""
    return clips_of(folder, before, after, size)(0)


def clips_of(folder: Path, before: int = 100, after: int = 140, size: int = 40) -> FootageClips:
    """Frames 10 and later of a white box on black, which is at ``before`` until then and at ``after`` from then on; the
    reference is frame 3.
    """
    path = folder / "video.mp4"
    ground, box = (
        f"color={colour}:s={shape}:r=10:d={FRAMES / 10}"
        for colour, shape in (("black", f"{WIDTH}x{HEIGHT}"), ("white", f"{size}x140"))
    )
    place = f"overlay=x='if(lt(n,10),{before},{after})':y=10"
    ffmpeg("-f", "lavfi", "-i", ground, "-f", "lavfi", "-i", box, "-filter_complex", place, "-crf", "10", path)
    video_id = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    people = [[somebody(before if frame < 10 else after, size)] for frame in range(FRAMES)]
    times = [frame / 10 for frame in range(FRAMES)]
    write_output(folder, {"1.parquet": [VideoPoses(video_id, str(path), 10.0, WIDTH, HEIGHT, times, people)]})
    row = {"video_id": video_id, "uri": str(path), "status": KEPT, "start": 10, "start_s": 1.0, "frames": 10}
    table = pa.Table.from_pylist([{**row, "person_id": 0, "reference": 3}])
    pq.write_table(table, folder / "clips.parquet")
    return FootageClips(SETTINGS, GRID, str(folder / "clips.parquet"), str(folder))


@pytest.mark.parametrize(("before", "after"), [(0, 280), (280, 0), (0, 90)])
def test_a_reference_far_from_the_clip_gives_way_to_a_frame_of_it(tmp_path, before, after):
    clip = clip_of(tmp_path, before, after, size=40)
    white = (clip.frames > 200).mean(axis=(1, 2, 3))
    # The box takes 20 x 70 of the 48 x 80 pixels.
    np.testing.assert_allclose(white, 20 * 70 / (48 * 80), atol=0.05)
    assert (clip.guidance.reshape(5, -1).max(axis=1) > 0).all()
    assert (clip.guidance[0] == clip.guidance[1]).all()


def test_a_reference_that_fits_beside_the_clip_is_kept(tmp_path):
    clip = clip_of(tmp_path, 100, 140, size=40)
    white = (clip.frames > 200).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(white, 20 * 70 / (48 * 80), atol=0.05)
    assert (clip.guidance[0] != clip.guidance[1]).any()


def test_a_person_too_wide_for_the_crop_is_in_its_middle(tmp_path):
    clip = clip_of(tmp_path, 0, 100, size=160)
    assert ((clip.frames > 200).mean(axis=(1, 2, 3)) > 0.8).all()


def change(path: Path, column: str, value: object) -> None:
    """Put another value into a column of a table of one row."""
    table = pq.read_table(path)
    place = table.column_names.index(column)
    pq.write_table(table.set_column(place, table.field(place), [[value]]), path)


def test_poses_with_the_times_of_others_are_not_learnt_from(tmp_path):
    make = clips_of(tmp_path)
    path = tmp_path / "poses" / "1.parquet"
    # A killed run has put a newer table in place.
    left = pq.read_table(path)
    writer = PoseFileWriter(str(path))
    writer.write(left.replace_schema_metadata())
    video_id = left["video_id"][0].as_py()
    writer.close(contents_table([{"video_id": video_id, "fingerprint": "newer", "settings": "{}"}]), {})
    with pytest.raises(InputError, match=r"1\.parquet are not those of its row in videos\.parquet.*run it again"):
        make(0)
    change(tmp_path / "videos.parquet", "fingerprint", "newer")
    assert dataclasses.replace(make)(0).frames.shape[0] == 5


@pytest.mark.parametrize("times", [[frame / 5 for frame in range(FRAMES)], [frame / 10 for frame in range(12)]])
def test_clips_that_were_selected_from_other_frames_are_refused(tmp_path, times):
    make = clips_of(tmp_path)
    change(tmp_path / "videos.parquet", "pts_s", times)
    with pytest.raises(InputError, match=r"clips\.parquet was selected from poses of other frames; select the clips"):
        make(0)


@pytest.mark.parametrize(("asking", "outage"), [("posed_video", InputOutage), ("open_pose_file", PoseTableOutage)])
def test_no_other_clip_takes_the_place_of_one_whose_store_does_not_answer(tmp_path, monkeypatch, asking, outage):
    make, asked = clips_of(tmp_path), []

    def unanswered(uri: str, *_: object) -> None:
        asked.append(uri)
        raise outage(f"{uri} cannot be read (OSError: 503)")

    monkeypatch.setattr(footage_clips, asking, unanswered)
    with pytest.raises(outage, match="503"):
        make(0)
    assert len(asked) == 1


@pytest.mark.parametrize("table", ["clips", "videos", "poses/1"])
def test_a_store_that_fails_while_a_table_is_read_is_asked_again_later(tmp_path, monkeypatch, table):
    make, read = clips_of(tmp_path), LocalFileOpener.read

    def failing(file: LocalFileOpener, size: int = -1) -> bytes:
        if file.path.endswith(f"{table}.parquet"):
            raise TimeoutError("no answer")
        return bytes(read(file, size))

    monkeypatch.setattr(LocalFileOpener, "read", failing, raising=False)
    with pytest.raises(PoseTableOutage, match=rf"{table}\.parquet: cannot be read \(TimeoutError: no answer\)"):
        make(0)


def test_a_table_of_videos_that_is_gone_is_no_fault_of_clips(tmp_path, caplog):
    make = clips_of(tmp_path)
    (tmp_path / "videos.parquet").unlink()
    with pytest.raises(PoseTableError, match=r"videos\.parquet: no such file"):
        make(0)
    assert not caplog.records


def test_what_a_vae_learns_from_has_no_leap_in_it(tmp_path, monkeypatch):
    settings = dataclasses.replace(SETTINGS, objective="autoencoding", learn=("vae",))
    make, seen = dataclasses.replace(clips_of(tmp_path), settings=settings), []
    pictures = FootageClips._pictures

    def noting(self: FootageClips, row: Any, video: Any, frames: list[int]) -> list[np.ndarray]:
        seen.append(frames)
        return pictures(self, row, video, frames)

    monkeypatch.setattr(FootageClips, "_pictures", noting)
    for index in range(6):
        assert make(index).frames.shape[0] == 5
    for frames in seen:
        assert frames == list(range(frames[0], frames[0] + 5))
        assert 10 <= frames[0] <= 15


def test_validation_on_what_is_learnt_from_is_said_once(tmp_path, monkeypatch, caplog):
    make = clips_of(tmp_path)
    monkeypatch.setattr(footage_index, "is_held_out", lambda _: False)
    validated = dataclasses.replace(make, held_out=True)
    for index in range(2):
        make(index)
        validated(index)
    (record,) = caplog.records
    assert "clips.parquet: none of its few videos is held out" in record.getMessage()


def test_tables_are_read_once_in_a_process_and_again_when_they_change(tmp_path, monkeypatch):
    make, read = clips_of(tmp_path), []
    batches = footage_index.summary_batches

    def noting(folder: str, columns: list[str]) -> Any:
        read.append(folder)
        return batches(folder, columns)

    monkeypatch.setattr(footage_index, "summary_batches", noting)
    sent, first = pickle.dumps(make), make(0)
    assert pickle.dumps(make) == sent, "what was read is not sent"
    # As tasks have it, one after another.
    for _ in range(2):
        np.testing.assert_array_equal(pickle.loads(sent)(0).frames, first.frames)
    assert read == [str(tmp_path)]
    change(tmp_path / "videos.parquet", "pts_s", [frame / 5 for frame in range(FRAMES)])
    with pytest.raises(InputError, match="select the clips again"):
        pickle.loads(sent)(0)
    assert len(read) == 2


@settings(deadline=None)
@given(st.data())
def test_the_index_has_the_clips_and_times_that_the_tables_say(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("index")
    ids = [f"{number:02}" for number in range(data.draw(st.integers(1, 30)))]
    summarized = data.draw(st.lists(st.sampled_from(ids), unique=True))
    videos = [
        {"video_id": name, "table": f"{name}.parquet", "fingerprint": data.draw(st.none() | st.just(name)),
         "pts_s": data.draw(st.none() | st.lists(st.floats(0, 9), max_size=4))}
        for name in summarized
    ]  # fmt: skip
    clips = [
        {"video_id": data.draw(st.sampled_from(ids)), "status": data.draw(st.sampled_from(STATUSES)),
         "uri": str(number), "start": number, "start_s": 0.5, "frames": data.draw(st.integers(3, 6)),
         "person_id": 0, "reference": 0}
        for number in range(data.draw(st.integers(1, 40)))
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(videos, VIDEO_COLUMNS), folder / "videos.parquet", row_group_size=7)
    pq.write_table(pa.Table.from_pylist(clips), folder / "clips.parquet")
    usable = [clip for clip in clips if clip["status"] == KEPT and clip["frames"] >= 5]
    for held_out in (False, True):
        wanted = [clip for clip in usable if footage_index.is_held_out(clip["video_id"]) == held_out] or usable
        if not wanted:
            with pytest.raises(PoseTableError, match="no clip of at least 5 frames"):
                footage_index.footage_index(str(folder / "clips.parquet"), str(folder), 5, held_out)
            continue
        index = footage_index.footage_index(str(folder / "clips.parquet"), str(folder), 5, held_out)
        assert len(index) == len(wanted)
        for number, clip in enumerate(wanted):
            row, video = index.clip(number)
            assert row == clip
            expected = next((video for video in videos if video["video_id"] == clip["video_id"]), None)
            if expected is None or video is None:
                assert expected is video
            else:
                assert {**vars(video), "pts_s": video.pts_s.tolist()} == {**expected, "pts_s": expected["pts_s"] or []}
