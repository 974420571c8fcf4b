"""The main job as a person runs it: real footage, real Ray, the embedded network at its smallest."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from jobs.animate_catalog import main
from jobs.arguments import OK, SOME_QUARANTINED, WRONG_REQUEST
from pipeline.video import probe_video
from tests.conftest import ffmpeg
from tests.model.estimators.test_dwpose import detector_row, make_detector, make_pose_network, peaks
from tests.processes import ray_workers

ROOT = Path(__file__).parents[2]
SMALL = ("--resolution", "64x64", "--steps", "1", "--fps", "5", "--window", "8", "--overlap", "2")

pytestmark = pytest.mark.usefixtures("local_ray")


def write_catalog(path: Path, rows: list[dict[str, Any]]) -> Path:
    columns = sorted({name for row in rows for name in row}, key=lambda n: (n not in ("id", "reference", "driving"), n))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def animate(catalog: Path, output: Path, *options: str) -> int:
    # One worker, which is started sooner than two.
    return main(["--catalog", str(catalog), "--output", str(output), *SMALL, "--workers", "1", *options])


def quarantined(output: Path) -> dict[str, str]:
    return {row["id"]: row["message"] for row in pq.read_table(output / "quarantine.parquet").to_pylist()}


def made(output: Path) -> list[str]:
    return pq.read_table(output / "manifest.parquet")["id"].to_pylist()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def times(output: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in (output / "videos").iterdir()}


@pytest.fixture
def inputs(tmp_path: Path, dance: Path, dancer_picture: Path) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    shutil.copy(dance, folder / "dance.mp4")
    for name in ("one.png", "two.png"):
        shutil.copy(dancer_picture, folder / name)
    return folder


def test_rows_become_videos_and_the_next_run_only_redoes_what_changed(inputs, tmp_path, capsys, monkeypatch):
    rows: list[dict[str, Any]] = [
        {"id": "one", "reference": "one.png", "driving": "dance.mp4", "mood": "gay"},
        {"id": "two", "reference": "two.png", "driving": "dance.mp4", "seed": 7},
        {"id": "three", "reference": "one.png", "driving": "dance.mp4", "seed": 8},
        {"id": "gone", "reference": "nowhere.png", "driving": "dance.mp4"},
    ]
    catalog, output = write_catalog(inputs / "catalog.csv", rows), tmp_path / "out"
    assert animate(catalog, output) == SOME_QUARANTINED
    assert "3 made, 0 kept, 1 quarantined" in capsys.readouterr().out
    assert made(output) == ["one", "three", "two"]
    assert "nowhere.png: no such file" in quarantined(output)["gone"]
    for name in ("one", "two", "three"):
        info = probe_video(output / "videos" / f"{name}.mp4")
        assert (info.width, info.height, info.frames) == (64, 64, 5)
        assert info.duration_s == pytest.approx(1, abs=1 / 5)
        assert info.has_audio
    record = json.loads((output / "records" / "one.json").read_text())
    assert record["row"]["mood"] == "gay"
    assert record["output"]["frames"] == record["poses"]["frames_seen"] == 5
    assert record["poses"]["people"] == 1
    assert json.loads((output / "records" / "two.json").read_text())["settings"]["seed"] == 7
    assert len(list((output / "poses").iterdir())) == 1, "the poses of a video are estimated once"
    assert not (output / ".incoming").exists()

    # The same again: nothing is made, and Ray is not even needed.
    before = times(output)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.job.connect", lambda: pytest.fail("a run with nothing to make started Ray"))
        assert animate(catalog, output) == SOME_QUARANTINED
    assert "0 made, 3 kept, 1 quarantined" in capsys.readouterr().out
    assert animate(catalog, output, "--dry-run") == OK
    assert capsys.readouterr().out.count("skip, made already") == 3
    assert times(output) == before

    # Another picture under the same name, another setting in a row, and the missing picture is there now.
    ffmpeg("-f", "lavfi", "-i", "color=c=red:s=80x120:d=1", "-frames:v", "1", inputs / "two.png")
    shutil.copy(inputs / "one.png", inputs / "nowhere.png")
    rows[2]["seed"] = 9
    assert animate(write_catalog(catalog, rows), output) == OK
    assert "3 made, 1 kept, 0 quarantined" in capsys.readouterr().out
    after = times(output)
    assert {name for name in before if after[name] == before[name]} == {"one"}
    assert not json.loads((output / "records" / "two.json").read_text())["poses"]["reference_seen"]
    assert json.loads((output / "records" / "three.json").read_text())["settings"]["seed"] == 9
    assert made(output) == ["gone", "one", "three", "two"]
    assert quarantined(output) == {}


def test_dwpose_the_released_style_and_three_panels_go_the_whole_way(inputs, tmp_path):
    weights = tmp_path / "dwpose"
    weights.mkdir()
    # One person where the picture is red, every keypoint in the middle of the box.
    make_detector(weights / "yolox_l.onnx", detector_row((40, 50), 0.5, 200, 160, 0.9))
    make_pose_network(weights / "dw-ll_ucoco_384.onnx", peaks(576, 288, 1.3), peaks(768, 384, 0.8))
    ffmpeg("-f", "lavfi", "-i", "color=c=red:s=640x640:d=1:r=5", inputs / "red.mp4")
    ffmpeg("-i", inputs / "red.mp4", "-frames:v", "1", inputs / "red.png")
    catalog = write_catalog(inputs / "c.csv", [{"id": "a", "reference": "red.png", "driving": "red.mp4"}])
    backend = ("--pose-estimator", "dwpose", "--pose-weights", str(weights))
    style = ("--style", "released", "--fusion", "released", "--layout", "side-by-side", "--resolution", "60x50")
    assert animate(catalog, tmp_path / "out", *backend, *style) == OK
    record = json.loads((tmp_path / "out" / "records" / "a.json").read_text())
    assert record["poses"]["frames_seen"] == record["output"]["frames"] == 5
    assert "all at one height" in record["poses"]["note"], "a fit that cannot be says why"
    assert not record["output"]["audio"]
    info = probe_video(tmp_path / "out" / "videos" / "a.mp4")
    # Enlarged, with two gaps.
    assert (info.width, info.height) == (3 * 346 + 2 * 4, 288)


def huge_png(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def test_each_bad_row_is_named_with_its_reason_and_the_others_are_made(inputs, tmp_path):
    good_video = (inputs / "dance.mp4").read_bytes()
    (inputs / "text.png").write_text("this is not a picture")
    (inputs / "huge.png").write_bytes(huge_png(10_000, 10_000))
    (inputs / "text.mp4").write_text("this is not a video\n" * 50)
    (inputs / "cut.mp4").write_bytes(good_video[: len(good_video) // 2])
    (inputs / "empty.mp4").write_bytes(b"")
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", inputs / "sound.mp4")
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:d=0.4:r=5", inputs / "nobody.mp4")

    def row(row_id: str, reference: str = "one.png", driving: str = "dance.mp4", **more: Any) -> dict[str, Any]:
        return {"id": row_id, "reference": reference, "driving": driving, **more}

    rows = [
        row("good"),
        row("text-picture", reference="text.png"),
        row("huge-picture", reference="huge.png"),
        row("text-video", driving="text.mp4"),
        row("cut-video", driving="cut.mp4"),
        row("empty-video", driving="empty.mp4"),
        row("sound-only", driving="sound.mp4"),
        row("nobody", driving="nobody.mp4"),
        row("good"),
        row("../outside"),
        row("nan", guidance="nan"),
        row("no-driving", driving=""),
        row("third-person", person=3),
    ]
    catalog, output = write_catalog(inputs / "catalog.csv", rows), tmp_path / "out"
    before = contents(inputs)
    assert animate(catalog, output) == SOME_QUARANTINED
    assert made(output) == ["good"]
    entries = pq.read_table(output / "quarantine.parquet").to_pylist()
    assert [entry["line"] for entry in entries] == list(range(2, 14)), "one entry a bad row, in order"
    reasons = {entry["id"]: entry["message"] for entry in entries}
    for row_id, part in {
        "text-picture": "not a picture",
        "huge-picture": "10000x10000",
        "text-video": "text.mp4",
        "cut-video": "cut.mp4",
        "empty-video": "0 bytes",
        "sound-only": "sound.mp4",
        "nobody": "nobody is seen",
        "good": "already used by row 1",
        "../outside": "cannot name a file",
        "nan": "guidance",
        "no-driving": "driving is ''",
        "third-person": "1",
    }.items():
        assert part in reasons[row_id], (row_id, reasons[row_id])
    assert json.loads(entries[0]["row"])["reference"] == str(inputs / "text.png")
    assert contents(inputs) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inputs", "out"]
    assert sorted(contents(output / "videos")) == ["good.mp4"]


def test_a_request_that_is_wrong_ends_with_2_and_one_line(inputs, tmp_path, capsys):
    good = write_catalog(inputs / "good.csv", [{"id": "a", "reference": "one.png", "driving": "dance.mp4"}])
    columns = write_catalog(inputs / "columns.csv", [{"id": "a", "driving": "dance.mp4"}])
    file = tmp_path / "file"
    file.write_text("")
    for (catalog, output, *options), reason in (
        ([good, file / "out"], "cannot be written"),
        ([columns, tmp_path / "out"], "no column reference"),
        ([tmp_path / "none.csv", tmp_path / "out"], "no such file"),
        ([good, tmp_path / "out", "--steps", "0"], "steps is 0"),
        ([good, tmp_path / "out", "--guidance", "nan"], "guidance is 'nan'"),
        ([good, tmp_path / "out", "--fps", "nan"], "fps is nan"),
        ([good, tmp_path / "out", "--device", "cuda"], "no GPU"),
        ([good, tmp_path / "out", "--model", str(inputs)], "checkpoint"),
        ([good, tmp_path / "out", "--checkpoint", str(good)], "name that with --model"),
        ([good, tmp_path / "out", "--model", str(inputs), "--checkpoint", str(good)], "unet/config.json: no such file"),
        ([good, tmp_path / "out", "--pose-estimator", "dwpose"], "yolox_l.onnx"),
        ([good, tmp_path / "out", "--pose-weights", str(tmp_path / "none")], "is missing"),
    ):
        assert main(["--catalog", str(catalog), "--output", str(output), *SMALL, *options]) == WRONG_REQUEST
        message = capsys.readouterr().err.strip().splitlines()[-1]
        assert message.startswith("error: ")
        assert reason in message


@pytest.mark.soak
def test_weights_that_do_not_fit_end_the_job_and_the_tensor_is_named(inputs, tmp_path, capsys):
    golden = ROOT / "tests" / "golden" / "mimicmotion-tiny"
    tensors = torch.load(golden / "MimicMotion_tiny.pth", weights_only=True)
    del tensors["unet.conv_out.bias"]
    torch.save(tensors, tmp_path / "broken.pth")
    catalog = write_catalog(inputs / "c.csv", [{"id": "a", "reference": "one.png", "driving": "dance.mp4"}])
    weights = ["--model", str(golden / "base"), "--checkpoint", str(tmp_path / "broken.pth")]
    assert animate(catalog, tmp_path / "out", *weights) == WRONG_REQUEST
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "broken.pth (unet.*): missing conv_out.bias" in error
    assert not list((tmp_path / "out").glob("records/*"))


def test_a_dry_run_says_what_it_would_do_and_touches_nothing(inputs, tmp_path, capsys):
    rows = [
        {"id": "one", "reference": "one.png", "driving": "dance.mp4"},
        {"id": "bad", "reference": "none.png", "driving": "dance.mp4"},
    ]
    catalog, output = write_catalog(inputs / "catalog.csv", rows), tmp_path / "out"
    assert animate(catalog, output, "--dry-run", "--fps", "20", "--guidance", "2") == OK
    lines = capsys.readouterr().out.splitlines()
    one = next(line.split() for line in lines if line.startswith("one"))
    # 20 driving frames in windows of 7 that share 2: four windows, one step, two passes.
    assert one[1:4] == ["20", "4", "8"]
    assert one[-1] == "make"
    assert any(line.startswith("bad") and "none.png" in line for line in lines)
    assert not output.exists()


@pytest.mark.parametrize("deaths", [pytest.param(1, marks=pytest.mark.soak), 100])
def test_a_row_whose_worker_dies_is_tried_once_more_and_then_quarantined(inputs, tmp_path, deaths):
    rows = [{"id": "one", "reference": "one.png", "driving": "dance.mp4"}]
    catalog, output = write_catalog(inputs / "catalog.csv", rows), tmp_path / "out"
    # A worker that is at a row has a folder for its video.
    old = set(Path(tempfile.gettempdir()).glob("mimicmotion-scratch-*/*/.video.mp4-*"))
    killed = 0
    stop = threading.Event()

    def kill() -> None:
        nonlocal killed
        while killed < deaths and not stop.wait(0.02):
            new = set(Path(tempfile.gettempdir()).glob("mimicmotion-scratch-*/*/.video.mp4-*")) - old
            if new:
                old.update(new)
                for process in ray_workers("AnimateRows"):
                    process.kill()
                killed += 1

    thread = threading.Thread(target=kill)
    thread.start()
    status = animate(catalog, output, "--steps", "60")
    stop.set()
    thread.join()
    # Ray does not always count a death that it sees as a lost connection, so it may take one more.
    assert killed == 1 if deaths == 1 else 2 <= killed <= 3
    if deaths == 1:
        assert status == OK
        assert made(output) == ["one"]
    else:
        assert status == SOME_QUARANTINED
        assert "its worker died whenever it was tried" in quarantined(output)["one"]


def test_killed_half_way_and_run_again_nothing_is_lost_or_made_twice(inputs, tmp_path):
    # All rows ask for the same video under names of their own.
    rows = [{"id": f"row-{i}", "reference": "one.png", "driving": "dance.mp4"} for i in range(3)]
    catalog, output = write_catalog(inputs / "catalog.csv", rows), tmp_path / "out"
    long = ("--steps", "8", "--snapshot-every", "2")
    command = [
        sys.executable, "jobs/animate_catalog.py", "--catalog", str(catalog), "--output", str(output), *SMALL, *long,
        "--workers", "1",
    ]  # fmt: skip
    # A Ray of its own, whatever cluster runs on this machine.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": "local"}
    job = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    deadline = time.monotonic() + 120
    begun: set[str] = set()
    while not begun:
        assert job.poll() is None, "the job ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
        snapshots = {path.parts[-3] for path in output.glob("state/*/*/progress.safetensors")}
        # Looked for later: a finished row has its last snapshot for a moment beside its record.
        records = {path.stem for path in output.glob("records/*.json")}
        begun = snapshots - records if records else set()
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    finished = {path.stem: path.stat().st_mtime_ns for path in output.glob("records/*.json")}
    assert 1 <= len(finished) < 3
    assert not (output / "manifest.parquet").exists()

    time.sleep(1)  # Ray's own processes notice that their driver is gone
    assert animate(catalog, output, *long) == OK
    assert made(output) == [f"row-{i}" for i in range(3)]
    assert {name: (output / "records" / f"{name}.json").stat().st_mtime_ns for name in finished} == finished
    names = sorted(contents(output))
    assert names == sorted(
        [f"records/row-{i}.json" for i in range(3)]
        + [f"videos/row-{i}.mp4" for i in range(3)]
        + [".lock", "manifest.parquet", "quarantine.parquet", *(n for n in names if n.startswith("poses/"))]
    )
    for i in range(3):
        assert probe_video(output / "videos" / f"row-{i}.mp4").frames == 5
    # What went on from a snapshot is what was made before anything happened.
    undisturbed = (output / "videos" / f"{min(finished)}.mp4").read_bytes()
    assert (output / "videos" / f"{begun.pop()}.mp4").read_bytes() == undisturbed


def test_two_runs_at_once_on_one_output_the_second_is_refused(inputs, tmp_path, capsys):
    from pipeline.storage import Storage

    catalog = write_catalog(inputs / "c.csv", [{"id": "a", "reference": "one.png", "driving": "dance.mp4"}])
    with Storage(str(tmp_path / "out")).claimed():
        assert animate(catalog, tmp_path / "out") == WRONG_REQUEST
    assert f"in use by process {os.getpid()}" in capsys.readouterr().err
