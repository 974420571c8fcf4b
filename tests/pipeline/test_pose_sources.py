import json

import pyarrow.parquet as pq
import pytest

from pipeline.pose_reader import open_pose_file
from pipeline.pose_sources import PoseSource, find_tables, posed_video, sum_up
from pipeline.pose_table import KEY, PoseTableError
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


@pytest.mark.parametrize(
    "facts",
    [
        {"video": "a"},
        {"video": {"id": 3, "uri": ["a"]}},
        {"video": {"id": "a", "uri": 7}, "sampling": {"fps": "fast"}},
        {"video": {"id": "a", "uri": "u"}, "sampling": {"fps": -1.0, "pts_s": ["soon"]}},
        {"video": {"id": "a", "uri": "u"}, "sampling": {"fps": 10.0, "pts_s": []}},
    ],
)
def test_what_a_table_says_that_cannot_be_is_not_believed(tmp_path, facts):
    folder = write_output(tmp_path, {"1.parquet": [video("a", walking(20))]})
    (folder / "videos.parquet").unlink()
    path = folder / "poses" / "1.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata({KEY: json.dumps(facts).encode()}), path)
    source, failed = find_tables(str(folder)), []
    with open_pose_file(source.uri("poses/1.parquet")) as file:
        rows = list(sum_up(file, "poses/1.parquet", lambda rows: None, lambda *failure: failed.append(failure)))
    assert not failed
    assert [(row["video_id"], row["frames"]) for row in rows] == [("a", 20)]
    assert posed(source, rows[0]).pts_s == pytest.approx(video("a", walking(20)).pts_s)
