import pyarrow.parquet as pq
import pytest

from pipeline.pose_reader import open_pose_file
from pipeline.pose_sources import PoseSource, find_tables, posed_video
from pipeline.pose_table import PoseTableError
from tests.pipeline.pose_output import video, walking, write_anew, write_output


def posed(source: PoseSource, row: dict):
    with open_pose_file(source.uri(row["table"])) as file:
        return posed_video(source, row, file)


def test_poses_that_are_newer_than_videos_parquet_are_not_drawn_at_its_times(tmp_path):
    write_output(tmp_path, {"1.parquet": [video(name, walking(20)) for name in "ab"]})
    source = find_tables(str(tmp_path))
    rows = [
        {"video_id": name, "uri": f"/nowhere/{name}.mp4", "table": "poses/1.parquet", "fps": 10.0, "frames": 20}
        for name in "ab"
    ]
    assert posed(source, rows[1]).pts_s == video("b", walking(20)).pts_s
    made = {"a": "f", "b": "newer"}
    contents = [{"video_id": name, "fingerprint": mark} for name, mark in made.items()]
    write_anew(tmp_path / "poses" / "1.parquet", contents)
    assert len(posed(source, rows[0]).pts_s) == 20
    with pytest.raises(PoseTableError, match=r"poses/1\.parquet are not those of its row in videos\.parquet"):
        posed(source, rows[1])


def test_a_folder_may_be_called_like_a_pattern(tmp_path):
    folder = write_output(tmp_path / "run[1]", {"1.parquet": [video("a", walking(5))], "2.parquet": []})
    (folder / "videos.parquet").unlink()
    (folder / "poses" / "notes.txt").write_text("")
    assert find_tables(str(folder)).files == ("poses/1.parquet", "poses/2.parquet")
    assert find_tables(str(folder / "poses")).files == ("1.parquet", "2.parquet")


def test_a_video_that_left_videos_parquet_meanwhile_is_an_error_of_its_own(tmp_path):
    write_output(tmp_path, {"1.parquet": [video(name, walking(20)) for name in "ab"]})
    row = {"video_id": "b", "uri": "/nowhere/b.mp4", "table": "poses/1.parquet", "fps": 10.0, "frames": 20}
    videos = pq.read_table(tmp_path / "videos.parquet")
    pq.write_table(videos.take([0]), tmp_path / "videos.parquet")
    with pytest.raises(PoseTableError, match="are not those of its row"):
        posed(find_tables(str(tmp_path)), row)
