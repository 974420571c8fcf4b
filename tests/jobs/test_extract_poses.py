"""The job as a person runs it: real footage, real Ray; the networks are toys but where poses themselves matter."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest

from jobs.arguments import OK, SOME_QUARANTINED, WRONG_REQUEST
from jobs.extract_poses import main
from model.keypoints import NUM_KEYPOINTS
from pipeline.extract import _build_all
from pipeline.pose_store import Bucket, read_state
from pipeline.pose_table import SCHEMA, PoseTableError
from pipeline.storage import Storage
from pipeline.summary import SCHEMA as VIDEOS
from tests.conftest import ffmpeg
from tests.jobs.toy_estimator import make_toy_dwpose
from tests.pipeline.finished_parts import sourced, write_part
from tests.processes import ray_workers

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    return "--pose-estimator", "dwpose", "--pose-weights", str(make_toy_dwpose(tmp_path_factory.mktemp("toy")))


@pytest.fixture
def clips(tmp_path: Path, dance: Path) -> Path:
    """Three videos; two of one second, one of a tenth."""
    folder = tmp_path / "clips"
    folder.mkdir()
    shutil.copy(dance, folder / "dance.mp4")
    ffmpeg("-i", dance, "-vf", "hflip,scale=260:248", "-an", folder / "mirrored.mp4")
    ffmpeg("-i", dance, "-t", "0.1", "-vf", "scale=130:124", "-an", folder / "short.mp4")
    return folder


def extract(videos: object, output: Path, *options: str) -> int:
    return main(["--videos", str(videos), "--output", str(output), *options])


def summaries(output: Path) -> pd.DataFrame:
    frame = pd.read_parquet(output / "videos.parquet")
    return frame.set_index(frame["uri"].map(lambda uri: Path(uri).name))


def test_a_folder_becomes_tables_that_say_what_they_hold(clips, tmp_path, capsys):
    output = tmp_path / "out"
    shutil.copy(clips / "dance.mp4", clips / "twin.mp4")
    (clips / "text.mp4").write_text("not a video")
    (clips / "notes.txt").write_text("of no interest")
    assert extract(clips, output, "--fps", "5", "--people", "2") == SOME_QUARANTINED
    assert "4 done (0 truncated, 1 of known contents), 0 kept, 1 quarantined; 3 videos" in capsys.readouterr().out
    files = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
    assert files == {".lock", "poses/bucket-all.parquet", "videos.parquet", "quarantine.parquet"}

    videos = summaries(output)
    assert pq.read_schema(output / "videos.parquet").equals(VIDEOS)
    assert sorted(videos.index) == ["dance.mp4", "mirrored.mp4", "short.mp4"]
    dance, mirrored = videos.loc["dance.mp4"], videos.loc["mirrored.mp4"]
    assert (dance["status"], dance["frames"], dance["people"], dance["fps"]) == ("whole", 5, 1, 5)
    assert (dance["width"], dance["height"], dance["source_fps"]) == (518, 496, 25)
    assert dance["duration_s"] == pytest.approx(1)
    assert list(dance["pts_s"]) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8], abs=0.01)
    assert len(dance["cuts"]) == 0
    assert dance["confidence_body"] > 0.7
    assert dance["motion"] > 0
    # Mirrored, her left hand is the right one.
    assert abs(dance["confidence_left_hand"] - mirrored["confidence_right_hand"]) < 0.35

    (table,) = (output / "poses").iterdir()
    assert {f"poses/{table.name}"} == set(videos["table"])
    file = pq.ParquetFile(table)
    assert file.schema_arrow.equals(SCHEMA)
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    facts = json.loads(file.metadata.metadata[b"mimicmotion"])
    assert facts["estimator"]["name"] == "holistic"
    assert facts["sampling"] == {"fps": 5, "stride": None, "people": 2}
    rows = pd.read_parquet(output / "poses")
    assert rows["keypoints"].iloc[0].shape == (2 * NUM_KEYPOINTS,)
    assert rows["scores"].map(lambda scores: 0 <= scores.min() <= scores.max() <= 1).all()
    (bad,) = pq.read_table(output / "quarantine.parquet").to_pylist()
    assert (bad["id"], bad["stage"], bad["attempts"]) == (str(clips / "text.mp4"), "decode", 1)
    assert bad["uri"] == bad["id"], "it can be fed back as a catalog"


def test_only_what_changed_is_done_again_and_old_rows_go(clips, tmp_path, capsys, monkeypatch, toy):
    output = tmp_path / "out"
    assert extract(clips, output, "--fps", "5", *toy) == OK
    first = summaries(output)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.extract.connect", lambda: pytest.fail("a run with nothing to do started Ray"))
        assert extract(clips, output, "--fps", "5", *toy) == OK
    assert "0 done, 3 kept, 0 quarantined; 3 videos" in capsys.readouterr().out

    # Another video under the same name, one that is now broken, and a new name for known contents.
    ffmpeg("-i", clips / "mirrored.mp4", "-vf", "vflip", clips / "new.mp4")
    os.replace(clips / "new.mp4", clips / "mirrored.mp4")
    (clips / "short.mp4").write_text("no longer a video")
    (clips / "dance.mp4").rename(clips / "renamed.mp4")
    assert extract(clips, output, "--fps", "5", *toy) == SOME_QUARANTINED
    assert "2 done (0 truncated, 1 of known contents)" in capsys.readouterr().out
    second = summaries(output)
    # What is known by a name that leads nowhere any more is now known by the one that does.
    assert sorted(second.index) == ["mirrored.mp4", "renamed.mp4"]
    assert second.loc["renamed.mp4", "fingerprint"] == first.loc["dance.mp4", "fingerprint"]
    assert second.loc["mirrored.mp4", "video_id"] != first.loc["mirrored.mp4", "video_id"]
    assert set(pd.read_parquet(output / "poses")["video_id"]) == set(second["video_id"])

    # Another rate: everything, and nothing of before.
    (clips / "short.mp4").unlink()
    assert extract(clips, output, "--stride", "5", "--table-size", "1", *toy) == OK
    third = summaries(output)
    assert set(third["fps"]) == {5.0}
    assert not set(third["fingerprint"]) & set(second["fingerprint"])
    assert set(pd.read_parquet(output / "poses")["video_id"]) == set(third["video_id"])
    assert not pd.read_parquet(output / "poses").duplicated(["video_id", "frame_index", "person_id"]).any()


def test_what_kills_its_worker_twice_is_quarantined_and_its_neighbours_are_not(clips, tmp_path, toy):
    ffmpeg("-stream_loop", "4", "-i", clips / "mirrored.mp4", "-c", "copy", clips / "killer.mp4")
    stop = threading.Event()
    killed: set[int] = set()

    def kill() -> None:
        while not stop.wait(0.03):
            for process in ray_workers("ExtractPoses"):
                # The one that has a decoder at the file.
                if process.pid not in killed and any(map(_reads_killer, _children(process))):
                    killed.add(process.pid)
                    process.kill()

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        status = extract(clips, tmp_path / "out", "--fps", "40", *toy)
    finally:
        stop.set()
        thread.join()
    assert status == SOME_QUARANTINED
    (bad,) = pq.read_table(tmp_path / "out" / "quarantine.parquet").to_pylist()
    assert (Path(bad["id"]).name, bad["stage"], bad["attempts"]) == ("killer.mp4", "worker", 2)
    assert "its worker died 2 times" in bad["message"]
    assert sorted(summaries(tmp_path / "out").index) == ["dance.mp4", "mirrored.mp4", "short.mp4"]


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _reads_killer(process: psutil.Process) -> bool:
    try:
        return any("killer.mp4" in file.path for file in process.open_files())
    except psutil.Error:
        return False


def test_a_dry_run_says_what_it_would_do_and_touches_nothing(clips, tmp_path, capsys, toy):
    (clips / "empty.mp4").write_bytes(b"")
    output = tmp_path / "out"
    assert extract(clips, output, "--dry-run", *toy) == OK
    said = capsys.readouterr().out
    assert "3 to do, 0 done already, 1 cannot be" in said
    assert "0 bytes" in said
    assert not output.exists()


def test_a_request_that_is_wrong_ends_with_2_and_one_line(clips, tmp_path, capsys, toy):
    (tmp_path / "file").write_text("")
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("yolox_l.onnx", "dw-ll_ucoco_384.onnx"):
        (broken / name).write_text("version https://git-lfs.github.com/spec/v1")
    good = (clips, tmp_path / "out")
    for arguments, reason in (
        ((clips, tmp_path / "file" / "out", *toy), "cannot be written"),
        ((tmp_path / "nowhere", tmp_path / "out", *toy), "no such file, folder or prefix"),
        ((*good, "--fps", "0"), "fps is 0"),
        ((*good, "--fps", "5", "--stride", "2"), "exclude each other"),
        ((*good, "--workers", "0"), "workers is 0"),
        ((*good, "--deadline", "nan"), "deadline is nan"),
        ((*good, "--device", "cuda", *toy), "no GPU"),
        ((*good, "--pose-estimator", "dwpose"), "yolox_l.onnx"),
        ((*good, "--pose-estimator", "dwpose", "--pose-weights", str(broken)), "ONNX Runtime cannot load it"),
    ):
        assert extract(*arguments) == WRONG_REQUEST
        message = capsys.readouterr().err.strip().splitlines()[-1]
        assert message.startswith("error: ")
        assert reason in message
    with Storage(str(tmp_path / "out")).claimed():
        assert extract(*good, *toy) == WRONG_REQUEST
    assert f"in use by process {os.getpid()} on " in capsys.readouterr().err


def test_why_another_process_cannot_build_a_table_is_one_line(tmp_path):
    storage = Storage(str(tmp_path / "out"))
    for name in ("one", "two"):
        write_part(storage, tmp_path, name)
    parts = [sourced(part, ("u", "v1")) for part in read_state(storage).parts.values()]
    storage.write(parts[0].file, b"not a table")
    with pytest.raises(PoseTableError, match="is no pose table of this job") as refusal:
        _build_all(storage, [Bucket(f"poses/bucket-{bit}.parquet", (part,)) for bit, part in enumerate(parts)])
    assert "\n" not in str(refusal.value)
    assert "ray::" not in str(refusal.value)
