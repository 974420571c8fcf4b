"""The training job as a person runs it: real Ray Train and Ray Data, a network that learns in seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.arguments import OK, WRONG_REQUEST
from jobs.select_clips import main as select_clips
from jobs.train import main, parse
from model.animator import Animator
from model.training.export import CHECKPOINT, export
from pipeline.training.loop import train
from pipeline.training.parallel import Workers
from pipeline.training.run import work_of
from tests.model.training.networks import small_networks
from tests.pipeline.pose_output import write_output
from tests.processes import kill_with_descendants, ray_workers

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/mimicmotion-tiny"
RECIPE = """
start = "scratch"
learn = ["pose_net", "unet", "image_encoder"]
steps = 30
batch = 2
frames = 3
width = 16
height = 32
learning_rate = 1e-3
warmup = 2
"""

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A recipe and a model's configurations."""
    folder = tmp_path_factory.mktemp("work")
    export(small_networks(), folder / "model")
    (folder / "recipe.toml").write_text(RECIPE)
    return {"recipe": folder / "recipe.toml", "model": folder / "model"}


def learn_here(arguments: list[str]) -> None:
    """The loop that every worker runs, in this process: to start Ray Train takes longer than to train."""
    threads = torch.get_num_threads()
    train(work_of(parse(arguments)[0]), Workers())
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def undisturbed(work: dict[str, Path], local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run writes that nothing happens to."""
    output = tmp_path_factory.mktemp("undisturbed")
    learn_here(arguments(work, output))
    return output


LOOP = """
import sys
from pipeline.ray_data import connect
from tests.jobs.test_train import learn_here
connect()
learn_here(sys.argv[1:])
"""


@pytest.fixture(
    scope="module", params=[("-c", LOOP), pytest.param(("jobs/train.py",), marks=pytest.mark.soak)], ids=["loop", "job"]
)
def killed(
    request: pytest.FixtureRequest, work: dict[str, Path], local_ray: None, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What is written when the loop, or the whole job, is killed and run again."""
    output = tmp_path_factory.mktemp("killed")
    command = [sys.executable, *request.param, *arguments(work, output)]
    # A Ray of its own, whatever cluster runs on this machine.
    environment = {**os.environ, "RAY_ADDRESS": "local", "PYTHONPATH": str(ROOT)}
    job = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        wait_for(output / "state" / "latest.json", job)
    finally:
        kill_with_descendants(job.pid)
        job.wait()
    assert not (output / "export").exists()
    assert 5 <= json.loads((output / "state" / "latest.json").read_text())["step"] < 30
    if request.param[0] == "-c":
        learn_here(arguments(work, output))
    else:
        assert main(arguments(work, output)) == OK
    return output


def arguments(work: dict[str, Path], output: Path, *more: str) -> list[str]:
    where = ["--recipe", str(work["recipe"]), "--model", str(work["model"]), "--output", str(output)]
    return [*where, "--save-every", "5", "--validate-every", "15", "--picture-every", "30", *more]


def losses(output: Path) -> list[tuple[int, float, float]]:
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"], row["gradient_norm"]) for row in rows]


def weights(output: Path) -> bytes:
    return (output / "export" / CHECKPOINT).read_bytes()


def wait_for(path: Path, job: subprocess.Popen[bytes] | None = None, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert job is None or job.poll() is None, f"the job ended, and {path} had not come"
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.02)


@pytest.mark.timeout(600)
def test_a_run_writes_losses_pictures_and_networks_that_load_and_animate(killed):
    assert [step for step, _, _ in losses(killed)] == list(range(30))
    assert Image.open(killed / "samples" / "0000030.png").width > 16
    assert list((killed / "tensorboard").glob("events*"))
    validated = [json.loads(line) for line in (killed / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in validated if "validation_loss" in row] == [14, 29]
    animator = Animator.load(str(killed / "export"), str(killed / "export" / CHECKPOINT))
    assert animator.networks.sigma_max == 80.0


@pytest.mark.timeout(600)
def test_killed_and_run_again_it_comes_to_the_same_losses_and_weights(killed, undisturbed):
    assert losses(killed) == losses(undisturbed)
    assert weights(killed) == weights(undisturbed)


@pytest.mark.soak
def test_a_worker_that_is_killed_is_started_again_and_comes_to_the_same(work, undisturbed, tmp_path):
    ended = []

    def kill() -> None:
        wait_for(tmp_path / "out" / "state" / "0000005.pt")
        for process in ray_workers("RayTrainWorker"):
            process.kill()
            ended.append(process.pid)

    thread = threading.Thread(target=kill)
    thread.start()
    assert main(arguments(work, tmp_path / "out")) == OK
    thread.join()
    assert ended
    assert losses(tmp_path / "out") == losses(undisturbed)
    assert weights(tmp_path / "out") == weights(undisturbed)


@pytest.mark.parametrize("option", ["workers", "threads", "save-every", "validate-every", "picture-every"])
def test_a_number_that_cannot_be_is_named(work, tmp_path, capsys, option):
    assert main(arguments(work, tmp_path / "out", f"--{option}", "0")) == WRONG_REQUEST
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error == f"error: {option.replace('-', '_')} is 0, expected at least 1"


@pytest.mark.soak
def test_what_a_worker_finds_wrong_is_said_once(work, killed, capfd):
    """Another recipe for a run that is there: only the workers read its state."""
    assert main(arguments(work, killed, "--learning-rate", "2e-3")) == WRONG_REQUEST
    written = capfd.readouterr().err
    assert written.splitlines()[-1].startswith("error: ")
    assert "holds a run with other settings" in written.splitlines()[-1]


def test_the_released_layout_is_fine_tuned_on_footage_until_time_is_up_and_loads_again(work, tmp_path, dance_poses):
    poses = tmp_path / "poses"
    write_output(poses, {"1.parquet": [dance_poses]})
    assert select_clips([str(poses), "--length", "4", "--min-motion", "0", "--min-confidence", "0"]) == OK
    base, released = str(GOLDEN / "base"), str(GOLDEN / "MimicMotion_tiny.pth")
    tuned = tmp_path / "tuned"
    clips = ("--clips", str(poses / "clips.parquet"), "--width", "64", "--height", "64", "--max-minutes", "0.0001")
    start = ("--start", "released", "--checkpoint", released, "--learn", "temporal")
    learn_here(arguments({**work, "model": Path(base)}, tuned, *clips, *start))
    assert len(losses(tuned)) == 1
    before = Animator.load(base, released)
    after = Animator.load(str(tuned / "export"), str(tuned / "export" / CHECKPOINT))
    changed = {
        name
        for name, tensor in before.networks.unet.state_dict().items()
        if not np.array_equal(tensor.numpy(), after.networks.unet.state_dict()[name].numpy())
    }
    assert changed
    # Only what looks along time was to learn.
    assert all("temporal" in name or "time_" in name for name in changed)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--steps", "0"), "steps is 0"),
        (("--recipe", "/nowhere.toml"), "/nowhere.toml: cannot be read"),
        (("--motions", "/nowhere"), "holds no .npy file"),
        (("--start", "released"), "a checkpoint goes with 'released' alone"),
        (("--model", "/nowhere"), "/nowhere"),
        (("--width", "18"), "width is 18, expected a multiple of 4"),
        (("--max-minutes", "-1"), "max_minutes is -1.0, expected a number above 0"),
        (("--max-minutes", "nan"), "max_minutes is nan, expected a number above 0"),
        (("--poses", "/poses"), "poses is given without clips"),
        (("--workers", "3"), "batch is 2, expected a multiple of the 3 workers"),
        (("--objective", "autoencoding", "--learn", "vae", "--crop", "10"), "crop is 10, expected a multiple of 4"),
        (
            ("--objective", "autoencoding", "--learn", "vae", "--crop", "8", "--clips", "/nowhere/clips.parquet"),
            "crop is 8, expected 0 with --clips",
        ),
    ],
)
def test_a_wrong_request_is_one_line(work, tmp_path, capsys, more, message: Any):
    assert main(arguments(work, tmp_path / "out", *more)) == WRONG_REQUEST
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 133, 2), r"short.npy has 2 frames, a clip takes 3; remove the file, or set fewer frames"),
        ((9, 17, 2), r"short.npy has shape (9, 17, 2), expected frames x 133 x 2"),
        (None, "short.npy cannot be read"),
    ],
)
def test_a_motion_that_cannot_drive_a_clip_is_named_by_a_dry_run(work, tmp_path, capsys, shape, message: str):
    path = tmp_path / "short.npy"
    path.write_bytes(b"nothing") if shape is None else np.save(path, np.zeros(shape, np.float32))
    assert main(arguments(work, tmp_path / "out", "--motions", str(tmp_path), "--dry-run")) == WRONG_REQUEST
    assert message in capsys.readouterr().err


def test_a_dry_run_says_what_a_worker_would_hold_and_touches_nothing(work, tmp_path, capsys):
    assert main(arguments(work, tmp_path / "out", "--dry-run")) == OK
    shown = capsys.readouterr().out
    assert "parameters learn" in shown
    assert "activations of 2 clips" in shown
    assert not (tmp_path / "out").exists()
