from itertools import chain

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.keypoints import NUM_KEYPOINTS, PersonPose
from pipeline.pose_table import SCHEMA, PoseTableError, VideoPoses, read_pose_table, write_pose_table


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
