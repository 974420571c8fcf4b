"""Pose tables elsewhere: with object storage for everything."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pandas as pd
import pytest

from pipeline.listing import ListingError, list_videos
from pipeline.storage import Storage
from tests.conftest import ffmpeg
from tests.jobs.conftest import s3_client
from tests.jobs.test_places import ROOT
from tests.jobs.toy_estimator import make_toy_dwpose


def test_what_another_process_wrote_after_a_listing_is_there(bucket):
    storage = Storage("s3://data/out")
    bucket.put_object(Bucket="data", Key="out/_parts/old", Body=b"old")
    assert storage.sizes("_parts") == {"_parts/old": 3}
    # Not through this process's file system, which would forget its listing then.
    bucket.put_object(Bucket="data", Key="out/_parts/new", Body=b"new one")
    bucket.put_object(Bucket="data", Key="out/_parts/old", Body=b"longer")
    assert storage.exists("_parts/new")
    assert storage.size("_parts/old") == 6
    with storage.open("_parts/new") as file:
        assert file.read() == b"new one"
    assert storage.sizes("_parts") == {"_parts/new": 7, "_parts/old": 6}


def test_what_stands_for_a_folder_is_no_video(bucket):
    for key, contents in {"clips/": b"", "clips/2024/": b"", "clips/2024/a.mp4": b"video", "void/": b""}.items():
        bucket.put_object(Bucket="data", Key=key, Body=contents)
    for videos in ("s3://data/clips", "s3://data/cl", "s3://data/**"):
        listing = list_videos(videos)
        assert [video.uri for video in listing.videos] == ["s3://data/clips/2024/a.mp4"]
        assert (listing.failed, listing.left_out) == ([], 0)
    with pytest.raises(ListingError, match="nothing in it"):
        list_videos("s3://data/void")


def test_videos_tables_and_state_in_s3(s3, dance, tmp_path):
    client = s3_client(s3)
    short = tmp_path / "short.mp4"
    ffmpeg("-i", dance, "-t", "0.2", "-an", short)
    client.upload_file(str(dance), "data", "clips/2024/dance.mp4")
    client.upload_file(str(short), "data", "clips/2025/short.mp4")
    client.put_object(Bucket="data", Key="clips/2025/text.mp4", Body=b"not a video")
    make_toy_dwpose(tmp_path)
    for name in ("yolox_l.onnx", "dw-ll_ucoco_384.onnx"):
        client.upload_file(str(tmp_path / name), "data", f"weights/{name}")

    def run(videos: str) -> tuple[int, str]:
        command = [
            sys.executable, "jobs/extract_poses.py", "--videos", videos, "--output", "s3://data/out", "--fps", "5",
            "--pose-estimator", "dwpose", "--pose-weights", "s3://data/weights",
        ]  # fmt: skip
        environment = {**os.environ, **s3, "MIMICMOTION_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
        # A Ray of its own, whatever cluster runs on this machine.
        environment["RAY_ADDRESS"] = "local"
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr[-3000:]

    def read(key: str) -> pd.DataFrame:
        return pd.read_parquet(io.BytesIO(client.get_object(Bucket="data", Key=key)["Body"].read()))

    # A run that was killed: its lease is still there, and its process is not.
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    code = f"from tests.pipeline.test_claim import left_by, Storage; left_by(Storage('s3://data/out'), pid={gone.pid})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **s3}, check=True)

    status, said = run("s3://data/clips")
    assert status == 3, said
    assert "2 done, 0 kept, 1 quarantined; 2 videos in s3://data/out" in said
    keys = {entry["Key"] for entry in client.list_objects_v2(Bucket="data", Prefix="out/")["Contents"]}
    assert keys == {"out/poses/bucket-all.parquet", "out/videos.parquet", "out/quarantine.parquet"}
    videos = read("out/videos.parquet")
    assert sorted(videos["uri"]) == ["s3://data/clips/2024/dance.mp4", "s3://data/clips/2025/short.mp4"]
    assert set(read("out/poses/bucket-all.parquet")["video_id"]) == set(videos["video_id"])
    assert list(read("out/quarantine.parquet")["uri"]) == ["s3://data/clips/2025/text.mp4"]

    status, said = run("s3://data/clips/2024")
    assert status == 0, said
    assert "0 done, 1 kept, 0 quarantined; 2 videos" in said
