"""The job as a person runs it, on real poses, on a local disk and in object storage."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow.parquet as pq

from jobs.arguments import OK, SOME_QUARANTINED, WRONG_REQUEST
from jobs.select_clips import main
from tests.pipeline.pose_output import video, walking, write_output


def test_a_dance_becomes_clips(dance_poses, tmp_path, capsys):
    write_output(tmp_path, {"1.parquet": [dance_poses, video("z", walking(40))]})
    assert main([str(tmp_path), "--length", "8", "--length", "12"]) == OK
    out = capsys.readouterr().out
    assert "2 videos" in out
    assert "frames kept" in out
    rows = pq.read_table(tmp_path / "clips.parquet").to_pylist()
    dancing = [row for row in rows if row["video_id"] == dance_poses.video_id]
    frames = len(dance_poses.people)
    assert [(row["length"], row["start"]) for row in dancing if row["status"] == "kept"] == [
        (length, start) for length in (8, 12) for start in range(0, frames - length + 1, length)
    ]
    kept = [row for row in dancing if row["status"] == "kept"]
    assert all(row["confidence_body"] > 0.8 and row["motion"] > 0.05 for row in kept)
    assert any(not row["start"] <= row["reference"] < row["start"] + row["frames"] for row in kept)


def test_the_defaults_are_16_and_72_frames_and_a_file_beside_the_tables(tmp_path):
    write_output(tmp_path, {"1.parquet": [video("a", walking(100))]})
    assert main([str(tmp_path)]) == OK
    rows = pq.read_table(tmp_path / "clips.parquet").to_pylist()
    assert sorted({row["length"] for row in rows}) == [16, 72]
    assert main([str(tmp_path), "--output", str(tmp_path / "other" / "mine.parquet"), "--min-motion", "99"]) == OK
    assert {row["reason"] for row in pq.read_table(tmp_path / "other" / "mine.parquet").to_pylist()} == {
        "too little motion"
    }


def test_a_wrong_request_is_one_line(tmp_path, capsys):
    for arguments in (
        [str(tmp_path)],
        [str(tmp_path), "--length", "1"],
        [str(tmp_path), "--output", str(tmp_path / "clips.csv")],
    ):
        assert main(arguments) == WRONG_REQUEST
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ")
    write_output(tmp_path, {"1.parquet": [video("a", walking(20))]})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    for name in ("videos.parquet", "quarantine.parquet", "poses/clips.parquet", "poses/1.parquet"):
        assert main([str(tmp_path), "--output", str(tmp_path / name)]) == WRONG_REQUEST
        assert "which is for what extract_poses writes" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path), "--output", str(tmp_path / "file" / "clips.parquet")]) == WRONG_REQUEST


def test_what_could_not_be_used_is_told(tmp_path, capsys):
    write_output(tmp_path, {"1.parquet": [video(name, walking(20)) for name in "ab"]}, cuts={"b": [50]})
    assert main([str(tmp_path)]) == SOME_QUARANTINED
    assert "could not be used: /nowhere/b.mp4: cuts at [50]" in capsys.readouterr().out


def test_tables_and_clips_in_s3(bucket, tmp_path):
    write_output(tmp_path, {"1.parquet": [video("a", walking(100))], "2.parquet": [video("b", walking(90))]})
    for path in tmp_path.rglob("*.parquet"):
        bucket.upload_file(str(path), "data", f"out/{path.relative_to(tmp_path)}")
    assert main(["s3://data/out"]) == OK
    remote = bucket.get_object(Bucket="data", Key="out/clips.parquet")["Body"].read()
    assert main([str(tmp_path)]) == OK
    assert pq.read_table(io.BytesIO(remote)).equals(pq.read_table(tmp_path / "clips.parquet"))
    keys = {entry["Key"] for entry in bucket.list_objects_v2(Bucket="data")["Contents"]}
    assert keys == {f"out/{name}" for name in ("clips.parquet", "videos.parquet", "poses/1.parquet", "poses/2.parquet")}


def test_the_folder_of_the_output_need_not_be_named(tmp_path, monkeypatch):
    write_output(tmp_path, {"1.parquet": [video("a", walking(20))]})
    monkeypatch.chdir(tmp_path)
    assert main([".", "--output", "mine.parquet"]) == OK
    assert Path("mine.parquet").is_file()
