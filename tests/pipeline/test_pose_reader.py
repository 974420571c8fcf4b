from collections.abc import Iterable

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.pose_reader import BATCH_ROWS, PoseFile, open_pose_file, row_groups_with
from pipeline.pose_table import SCHEMA, PoseTableError, PoseTableOutage
from pipeline.video_summaries import read_summaries
from tests.pipeline.pose_output import pose_rows, video, walking, write_output


def test_videos_come_one_after_the_other_whatever_the_row_groups(tmp_path):
    made = [video("a", walking(30)), video("b", walking(50)), video("c", walking(7))]
    write_output(tmp_path, {"t.parquet": made}, row_group=20)
    with open_pose_file(str(tmp_path / "poses" / "t.parquet")) as file:
        found = {video_id: [file.rows(batch) for batch in batches] for video_id, batches in file.videos()}
    assert {video_id: sum(len(rows.frame) for rows in parts) for video_id, parts in found.items()} == {
        "a": 30, "b": 50, "c": 7
    }  # fmt: skip
    frames = np.concatenate([rows.frame for rows in found["b"]])
    assert frames.tolist() == list(range(50))
    np.testing.assert_array_equal(found["a"][0].keypoints[3], walking(30)[3][0].keypoints)
    assert (found["a"][0].width, found["a"][0].height, found["a"][0].uri) == (640, 480, "/nowhere/a.mp4")


def test_only_row_groups_that_may_hold_a_video_are_read(tmp_path, monkeypatch):
    write_output(tmp_path, {"t.parquet": [video(name, walking(20)) for name in "abcd"]}, row_group=20)
    read = []
    real = PoseFile.batches
    monkeypatch.setattr(PoseFile, "batches", lambda self, groups: read.extend(groups) or real(self, groups))
    with open_pose_file(str(tmp_path / "poses" / "t.parquet")) as file:
        assert sum(batch.num_rows for batch in file.video("c")) == 20
        assert read == [2]
        assert list(file.video("x")) == []


def test_a_column_without_statistics_may_hold_anything(tmp_path):
    table = pa.table({"other": [1, 2], "video_id": ["a", "b"]})
    pq.write_table(table, tmp_path / "t.parquet", write_statistics=False)
    assert row_groups_with(pq.read_metadata(tmp_path / "t.parquet"), "video_id", "z") == [0]


def test_rows_come_in_batches_of_bounded_size(tmp_path):
    write_output(tmp_path, {"t.parquet": [video("a", walking(BATCH_ROWS + 5))]})
    with open_pose_file(str(tmp_path / "poses" / "t.parquet")) as file:
        ((_, batches),) = [(name, [batch.num_rows for batch in parts]) for name, parts in file.videos()]
    assert batches == [BATCH_ROWS, 5]


def test_what_is_no_pose_table_is_refused_by_name(tmp_path):
    path = tmp_path / "t.parquet"
    uri = str(path)

    def refused(match: str) -> None:
        with pytest.raises(PoseTableError, match=rf"t\.parquet: {match}"), open_pose_file(uri) as file:
            for _, batches in file.videos():
                for batch in batches:
                    file.rows(batch)

    refused("no such file")
    path.write_text("text")
    refused("cannot be read as parquet")
    pq.write_table(pa.table({"a": [1]}), path)
    refused("no pose table, it is without column video_id")
    rows = [row for name in "ba" for row in pose_rows(video(name, walking(3)))]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    refused("not sorted by video_id, 'a' comes after 'b'")
    pq.write_table(pa.Table.from_pylist([{**rows[0], "scores": [np.nan] * 133}], SCHEMA), path)
    refused("column scores holds a NaN")
    pq.write_table(pa.Table.from_pylist([{**rows[0], "frame_index": None}], SCHEMA), path)
    refused("column frame_index has an empty cell")
    pq.write_table(pa.Table.from_pylist([{**rows[0], "video_id": None}], SCHEMA), path)
    refused("column video_id has an empty cell")


class NoCredentials(Exception):
    """As a store's client raises: neither an OSError nor one of Arrow's."""


def test_a_store_that_fails_while_a_table_is_read_is_not_the_tables_fault(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.retries.time.sleep", lambda seconds: None)
    write_output(tmp_path, {"t.parquet": [video("a", walking(600)), video("b", walking(700))]}, row_group=200)
    store, uri = fsspec.filesystem("memory"), "memory://words/t.parquet"
    for name in ("poses/t.parquet", "videos.parquet"):
        store.pipe_file(f"/words/{name.rpartition('/')[2]}", (tmp_path / name).read_bytes())
    with open_pose_file(uri) as file:
        monkeypatch.setattr(type(store.open("/words/t.parquet")), "read", refuse)
        with pytest.raises(PoseTableOutage, match=r"t\.parquet: cannot be read .*NoCredentials: none found"):
            list(file.batches())
    with pytest.raises(PoseTableOutage, match=r"t\.parquet: cannot be read .*NoCredentials: none found"):
        open_pose_file(uri).__enter__()
    with pytest.raises(PoseTableOutage, match=r"videos\.parquet: cannot be read .*NoCredentials: none found"):
        list(read_summaries("memory://words", ["video_id"]))


def test_a_store_that_does_not_open_a_table_at_once_is_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.retries.time.sleep", lambda seconds: None)
    write_output(tmp_path, {"t.parquet": [video("a", walking(3))]})
    store = fsspec.filesystem("memory")
    store.pipe_file("/patience/t.parquet", (tmp_path / "poses" / "t.parquet").read_bytes())
    opens, refusals = store.open, [NoCredentials("slow down"), OSError("503")]
    monkeypatch.setattr(store, "open", lambda *args, **kw: refuse(refusals.pop()) if refusals else opens(*args, **kw))
    with open_pose_file("memory://patience/t.parquet") as file:
        assert file.num_rows == 3
    assert not refusals
    refusals += [NoCredentials("none found")] * 4
    with (
        pytest.raises(PoseTableOutage, match=r"t\.parquet: cannot be opened \(NoCredentials: none found\)"),
        open_pose_file("memory://patience/t.parquet"),
    ):
        pass


def refuse(error: object, *args: object, **options: object) -> None:
    raise error if isinstance(error, Exception) else NoCredentials("none found")


def test_a_file_that_breaks_off_does_not_look_whole(tmp_path):
    made = [video("a", walking(600)), video("b", walking(800)), video("c", walking(10))]
    write_output(tmp_path, {"t.parquet": made}, row_group=BATCH_ROWS)
    path = tmp_path / "poses" / "t.parquet"
    chunk = pq.read_metadata(path).row_group(1).column(0)
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset : chunk.data_page_offset + 8] = b"\xff" * 8
    path.write_bytes(content)

    def rows_of(batches: Iterable[pa.RecordBatch]) -> int | str:
        try:
            return sum(batch.num_rows for batch in batches)
        except PoseTableError:
            return "broken"

    seen = []
    with open_pose_file(str(path)) as file:
        with pytest.raises(PoseTableError, match=f"could be read only to row {BATCH_ROWS} of 1410"):
            seen.extend((video_id, rows_of(batches)) for video_id, batches in file.videos())
    assert seen == [("a", 600), ("b", "broken")]
