from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.clip_selection import Selection, select_clips
from pipeline.clip_table import SCHEMA
from pipeline.clips import NOBODY, ClipSettings
from pipeline.pose_table import PoseTableError
from pipeline.storage import Storage, StorageError
from tests.pipeline.pose_output import somebody, video, walking, write_anew, write_output

SETTINGS = ClipSettings(length=(16, 20))


def select(folder: Path, settings: ClipSettings = SETTINGS) -> tuple[Selection, list[dict[str, Any]]]:
    selection = select_clips(str(folder), str(folder / "clips.parquet"), settings)
    return selection, pq.read_table(folder / "clips.parquet").to_pylist()


def frames_covered(rows: list[dict[str, Any]], video_id: str, length: int) -> list[int]:
    return [
        frame
        for row in rows
        if row["video_id"] == video_id and row["length"] == length
        for frame in range(row["start"], row["start"] + row["frames"])
    ]


def test_every_frame_of_every_video_is_accounted_for_once_at_each_length(tmp_path):
    gone = [[] if 10 <= frame < 14 else people for frame, people in enumerate(walking(50))]
    tables = {
        "1.parquet": [video("b", walking(40)), video("a", gone)],
        "2.parquet": [video("c", [[]] * 5), video("e", walking(33)), video("d", [[]])],
    }
    _, rows = select(write_output(tmp_path, tables, cuts={"b": [0, 17]}, row_group=16))
    for poses in [*tables["1.parquet"], *tables["2.parquet"]]:
        for length in SETTINGS.length:
            assert frames_covered(rows, poses.video_id, length) == list(range(len(poses.people)))
    assert [row["video_id"] for row in rows] == sorted(row["video_id"] for row in rows)
    assert {row["reason"] for row in rows if row["video_id"] in "cd"} == {NOBODY}
    clips = [(row["video_id"], row["start"]) for row in rows if row["length"] == 16 and row["status"] == "kept"]
    assert clips == [("a", 14), ("a", 30), ("b", 0), ("b", 17), ("e", 0), ("e", 16)]


def test_a_clip_says_where_it_is_who_is_in_it_and_how_well_they_are_seen(tmp_path):
    people = walking(36, person_id=3)
    for frame in (*range(8), 34):
        hands_hidden = people[frame][0].scores.copy()
        hands_hidden[91] = 0.3
        people[frame][0].scores[:] = hands_hidden
    made = video("a", people)
    made.pts_s[:] = [time + 0.5 for time in made.pts_s]
    _, rows = select(write_output(tmp_path, {"1.parquet": [made]}), ClipSettings(length=(16,)))
    first, second, rest = rows
    assert (first["status"], second["status"], rest["status"], rest["reason"]) == ("kept", "kept", "left_out", "cut")
    assert (second["start"], second["frames"], second["length"], second["fps"]) == (16, 16, 16, 10.0)
    assert second["start_s"] == pytest.approx(2.1)
    assert second["person_id"] == 3
    assert second["uri"] == "/nowhere/a.mp4"
    assert (first["reliable_left_hand"], first["reliable_right_hand"]) == (0.5, 1.0)
    assert second["reliable_left_hand"] == 1.0
    assert second["confidence_body"] == pytest.approx(0.9)
    assert first["confidence_left_hand"] == pytest.approx(0.9 - 0.5 * 0.6 / 21)
    assert second["motion"] == pytest.approx(4 / 200 * 10)
    # The best frames outside of the clip are those with both hands.
    assert first["reference"] == 16
    assert second["reference"] == 8
    assert rest["reference"] is None


def test_two_runs_write_the_same_bytes_and_the_settings_stand_in_the_file(tmp_path):
    write_output(tmp_path, {"1.parquet": [video("a", walking(40)), video("b", walking(40))]})
    select(tmp_path)
    first = (tmp_path / "clips.parquet").read_bytes()
    select(tmp_path)
    assert (tmp_path / "clips.parquet").read_bytes() == first
    schema = pq.read_schema(tmp_path / "clips.parquet")
    assert schema.names == SCHEMA.names
    assert b'"length": [16, 20]' in schema.metadata[b"mimicmotion"]
    assert not list(tmp_path.glob(".incoming/*"))


def test_a_video_that_cannot_be_used_is_named_and_the_others_are_done(tmp_path):
    twice = walking(20)
    twice[3] = [somebody(0), somebody(0)]
    good = [video(name, walking(20)) for name in "ac"]
    write_output(tmp_path, {"1.parquet": [*good, video("b", twice)]}, cuts={"c": [99]})
    selection, rows = select(tmp_path)
    assert {row["video_id"] for row in rows} == {"a"}
    assert [name for name, _ in selection.failed] == ["/nowhere/b.mp4", "/nowhere/c.mp4"]
    assert "person 0 twice" in selection.failed[0][1]
    assert "cuts at [99]" in selection.failed[1][1]


def test_a_table_that_is_gone_or_broken_is_named_and_its_videos_do_not_look_empty(tmp_path):
    tables = {f"{name}.parquet": [video(name, walking(20))] for name in "abc"}
    write_output(tmp_path, tables)
    (tmp_path / "poses" / "a.parquet").unlink()
    (tmp_path / "poses" / "b.parquet").write_bytes(b"PAR1")
    selection, rows = select(tmp_path)
    assert {row["video_id"] for row in rows} == {"c"}
    assert [name.rpartition("/")[2] for name, _ in selection.failed] == ["a.parquet", "b.parquet"]
    (tmp_path / "poses" / "c.parquet").unlink()
    before = (tmp_path / "clips.parquet").read_bytes()
    with pytest.raises(PoseTableError, match=r"no video of .* can be used"):
        select(tmp_path)
    assert (tmp_path / "clips.parquet").read_bytes() == before


def test_rows_that_videos_parquet_does_not_know_are_passed_over(tmp_path):
    write_output(tmp_path, {"1.parquet": [video(name, walking(20)) for name in "abc"]})
    videos = pq.read_table(tmp_path / "videos.parquet")
    pq.write_table(videos.take([0, 2]), tmp_path / "videos.parquet")
    _, rows = select(tmp_path)
    assert {row["video_id"] for row in rows} == {"a", "c"}


def test_poses_that_are_newer_than_videos_parquet_are_not_read_with_its_times(tmp_path):
    write_output(tmp_path, {"1.parquet": [video(name, walking(20)) for name in "abc"]})
    # As a run leaves it that is killed before it writes videos.parquet: b was done anew, c is gone.
    made = {"a": "f", "b": "newer"}
    contents = [{"video_id": name, "fingerprint": mark} for name, mark in made.items()]
    write_anew(tmp_path / "poses" / "1.parquet", contents)
    selection, rows = select(tmp_path)
    assert {row["video_id"] for row in rows} == {"a"}
    assert [name for name, _ in selection.failed] == ["/nowhere/b.mp4", "/nowhere/c.mp4"]
    assert all("poses/1.parquet are not those of its row in videos.parquet" in reason for _, reason in selection.failed)
    assert "run it again" in selection.failed[0][1]


def test_a_video_that_videos_parquet_does_not_have_yet_is_named(tmp_path):
    write_output(tmp_path, {"1.parquet": [video(name, walking(20)) for name in "abc"]})
    contents = [{"video_id": name, "uri": f"/nowhere/{name}.mp4", "fingerprint": "f"} for name in "abc"]
    write_anew(tmp_path / "poses" / "1.parquet", contents)
    videos = pq.read_table(tmp_path / "videos.parquet")
    pq.write_table(videos.take([0, 2]), tmp_path / "videos.parquet")
    selection, rows = select(tmp_path)
    assert {row["video_id"] for row in rows} == {"a", "c"}
    ((name, reason),) = selection.failed
    assert name == "/nowhere/b.mp4"
    assert "run it again" in reason


def test_an_output_that_cannot_be_written_is_refused_before_the_poses_are_read(tmp_path, monkeypatch):
    write_output(tmp_path, {"1.parquet": [video("a", walking(20))]})
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("pipeline.clip_selection.measure", lambda poses: pytest.fail("poses were read"))
    with pytest.raises(StorageError, match="cannot be written"):
        select_clips(str(tmp_path), str(tmp_path / "file" / "clips.parquet"), SETTINGS)


def test_a_table_at_the_root_is_not_written_to_the_current_folder(tmp_path, monkeypatch):
    write_output(tmp_path, {"1.parquet": [video("a", walking(20))]})
    folders = []
    monkeypatch.setattr("pipeline.clip_selection.Storage", lambda uri: folders.append(uri) or Storage(str(tmp_path)))
    select_clips(str(tmp_path), "/clips.parquet", SETTINGS)
    assert folders == ["/"]


def test_an_output_of_something_else_is_refused(tmp_path):
    with pytest.raises(PoseTableError, match=r"videos\.parquet: no such file"):
        select(tmp_path)
    write_output(tmp_path, {"1.parquet": [video("a", walking(20))]})
    table = pq.read_table(tmp_path / "videos.parquet")
    pq.write_table(table.drop_columns(["cuts"]), tmp_path / "videos.parquet")
    with pytest.raises(PoseTableError, match=r"videos\.parquet: without column cuts"):
        select(tmp_path)
    pq.write_table(table.set_column(5, "table", [[None]]), tmp_path / "videos.parquet")
    with pytest.raises(PoseTableError, match="a row without video_id or table"):
        select(tmp_path)
