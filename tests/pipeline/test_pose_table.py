import json
from itertools import chain

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.keypoints import NUM_KEYPOINTS, PersonPose
from pipeline import pose_table
from pipeline.pose_reader import open_pose_file
from pipeline.pose_table import KEY, SCHEMA, PoseTableError, VideoPoses, read_pose_table, write_pose_table


def person(number: int, seed: int) -> PersonPose:
    random = np.random.default_rng(seed)
    return PersonPose(
        number,
        random.uniform(0, 500, (NUM_KEYPOINTS, 2)).astype(np.float32),
        random.uniform(0, 1, NUM_KEYPOINTS).astype(np.float32),
        random.uniform(0, 500, 4).astype(np.float32),
        0.5,
    )


@pytest.fixture
def poses() -> VideoPoses:
    people = [[person(0, 1)], [], [person(0, 2), person(3, 3)], []]
    return VideoPoses("abc", "s3://v/a.mp4", 12.5, 640, 480, [0.0, 0.08, 0.16, 0.24], people)


def test_what_is_written_is_read(tmp_path, poses):
    write_pose_table(tmp_path / "t.parquet", poses, {"name": "holistic", "weights": "d"})
    found = read_pose_table(tmp_path / "t.parquet")
    assert (found.video_id, found.uri, found.fps, found.width, found.height) == ("abc", "s3://v/a.mp4", 12.5, 640, 480)
    assert found.pts_s == poses.pts_s
    assert [len(people) for people in found.people] == [1, 0, 2, 0]
    for mine, theirs in zip(chain(*poses.people), chain(*found.people), strict=True):
        assert mine.person_id == theirs.person_id
        np.testing.assert_array_equal(mine.keypoints, theirs.keypoints)
        np.testing.assert_array_equal(mine.scores, theirs.scores)
        np.testing.assert_array_equal(mine.box, theirs.box)


def test_a_video_with_nobody_is_a_table_without_rows(tmp_path):
    write_pose_table(tmp_path / "t.parquet", VideoPoses("a", "u", 5, 64, 64, [0.0, 0.2], [[], []]), {})
    assert read_pose_table(tmp_path / "t.parquet").people == [[], []]


def test_pandas_reads_it_without_our_code(tmp_path, poses):
    write_pose_table(tmp_path / "t.parquet", poses, {})
    frame = pd.read_parquet(tmp_path / "t.parquet")
    assert list(frame["frame_index"]) == [0, 2, 2]
    assert frame["keypoints"].iloc[0].shape == (NUM_KEYPOINTS * 2,)


def test_what_is_no_pose_table_is_refused_with_the_reason(tmp_path, poses):
    path = tmp_path / "t.parquet"

    def refused(match: str) -> None:
        with pytest.raises(PoseTableError, match=match):
            read_pose_table(path)

    path.write_text("text")
    refused("not a parquet file")
    pq.write_table(pa.table({"a": [1]}), path)
    refused("not a pose table")
    write_pose_table(path, poses, {})
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["scores"]), path)
    refused("without column scores")
    frames = table.column_names.index("frame_index")
    pq.write_table(table.set_column(frames, SCHEMA.field("frame_index"), pa.array([0, 2, 9])), path)
    refused("row 2 is of frame 9, the video has 4")
    scores = table.column_names.index("scores")
    bad = pa.array([[float("nan")] * NUM_KEYPOINTS] * 3, SCHEMA.field("scores").type)
    pq.write_table(table.set_column(scores, SCHEMA.field("scores"), bad), path)
    refused("column scores holds a NaN")


@pytest.mark.parametrize(
    ("facts", "match"),
    [
        (b"[]", "not a pose table"),
        (b"\xff", "not a pose table"),
        ({"sampling": None}, "not a pose table"),
        ({"sampling": {"fps": 5, "frames": None, "pts_s": []}}, "not a pose table"),
        ({"sampling": {"fps": 5, "frames": 1e999, "pts_s": []}}, "not a pose table"),
        ({"sampling": {"fps": 5, "frames": 4, "pts_s": [0, "soon", 1, 2]}}, "not a pose table"),
        ({"sampling": {"fps": 5, "frames": 4, "pts_s": [0, 1, 2]}}, "4 frames, and times of 3"),
        ({"sampling": {"fps": 5, "frames": 4, "pts_s": [0, 1, 2, float("nan")]}}, "4 frames, and times of 4"),
        ({"sampling": {"fps": 0, "frames": 4, "pts_s": [0, 1, 2, 3]}}, "are not a video"),
        ({"video": ["id"]}, "not a pose table"),
        ({"video": {"id": "a", "uri": "b", "width": 0, "height": 5}}, "0x5 is no size"),
        ({"schema_version": 7}, "version 7"),
        ({"videos": 3}, "a table of 3 videos"),
    ],
)
def test_metadata_that_says_what_cannot_be_is_refused_with_the_reason(tmp_path, poses, facts, match):
    path = tmp_path / "t.parquet"
    write_pose_table(path, poses, {})
    table = pq.read_table(path)
    if isinstance(facts, dict):
        facts = json.dumps(json.loads(table.schema.metadata[KEY]) | facts).encode()
    pq.write_table(table.replace_schema_metadata({KEY: facts}), path)
    with pytest.raises(PoseTableError, match=match):
        read_pose_table(path)


@pytest.mark.parametrize(
    ("column", "values", "match"),
    [
        ("scores", ["a", "b", "c"], "its column scores is string, expected fixed_size_list"),
        ("keypoints", [["a"], ["b"], ["c"]], "its column keypoints is list<.*string>, expected"),
        ("frame_index", ["0", "1", "2"], "its column frame_index is string, expected int64"),
        ("uri", [1, 2, 3], "its column uri is int64, expected string"),
        ("person_id", [0, None, 0], "column person_id has an empty cell"),
        ("bbox_score", [0.5, None, 0.5], "column bbox_score has an empty cell"),
        ("bbox", [[1.0] * 4, None, [1.0] * 4], "column bbox holds a NaN or lists that are not of length 4"),
    ],
)
def test_columns_of_other_kinds_and_empty_cells_are_refused(tmp_path, poses, column, values, match):
    path = tmp_path / "t.parquet"
    write_pose_table(path, poses, {})
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(column), column, pa.array(values)), path)
    with pytest.raises(PoseTableError, match=match):
        read_pose_table(path)
    if "cell" not in match and "length" not in match:
        with pytest.raises(PoseTableError, match=match), open_pose_file(str(path)):
            pass


def test_a_table_that_another_tool_has_written_anew_is_read(tmp_path, poses):
    path = tmp_path / "t.parquet"
    write_pose_table(path, poses, {})
    before, table = read_pose_table(path), pq.read_table(path)
    wider = [pa.field(f.name, pa.list_(pa.float64())) if pa.types.is_fixed_size_list(f.type) else f for f in SCHEMA]
    pq.write_table(table.cast(pa.schema(wider, table.schema.metadata)), path)
    after = read_pose_table(path)
    for one, other in zip(before.people[2], after.people[2], strict=True):
        np.testing.assert_array_equal(one.keypoints, other.keypoints)


def test_a_table_of_more_rows_than_fit_into_memory_is_not_read(tmp_path, poses, monkeypatch):
    monkeypatch.setattr(pose_table, "MOST_ROWS", 2)
    write_pose_table(tmp_path / "t.parquet", poses, {})
    with pytest.raises(PoseTableError, match=r"t\.parquet: 3 rows, more than the 2"):
        read_pose_table(tmp_path / "t.parquet")
