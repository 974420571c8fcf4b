"""What many tests share: real footage, fetched once, and one local Ray."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import ray
import torch

from pipeline.footage import dancer_clip
from pipeline.pose_table import VideoPoses
from pipeline.ray_data import UNWATCHED
from pipeline.video import Frame, read_frames

if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests look at what the processes that they start leave behind: not at that of the tests beside them.
    os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="t", dir="/tmp")
    tempfile.tempdir = None
    atexit.register(shutil.rmtree, os.environ["TMPDIR"], ignore_errors=True)

# Small networks lose more to threads that wait for each other than they gain; here, and in processes from here.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
# As where a job starts Ray itself.
os.environ["RAY_LOG_MONITOR_MANY_FILES_THRESHOLD"] = "0"


def ffmpeg(*arguments: str | Path) -> None:
    """Run the bundled ffmpeg."""
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)], check=True)


@pytest.fixture(scope="session")
def dance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of a woman dancing, with sound: 518x496, 25 frames a second."""
    path = tmp_path_factory.mktemp("footage") / "dance.mp4"
    ffmpeg("-ss", "5", "-t", "1", "-i", dancer_clip(), "-c:v", "libx264", "-crf", "18", "-c:a", "aac", path)
    return path


@pytest.fixture(scope="session")
def dancer_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same woman standing, 518x496."""
    path = tmp_path_factory.mktemp("footage") / "dancer.png"
    ffmpeg("-ss", "40", "-i", dancer_clip(), "-frames:v", "1", path)
    return path


@pytest.fixture(scope="session")
def dance_poses(dance: Path) -> VideoPoses:
    """The poses of that second, every frame."""
    from model.estimators.holistic import Holistic
    from model.estimators.holistic_weights import holistic_weights

    estimator, times = Holistic(holistic_weights()), []
    with read_frames(dance) as frames:

        def pixels(frame: Frame) -> np.ndarray:
            times.append(frame.pts_s)
            return frame.pixels

        people = list(estimator.track(map(pixels, frames)))
        info = frames.info
    digest = hashlib.sha256(dance.read_bytes()).hexdigest()
    return VideoPoses(digest, str(dance), info.fps, info.width, info.height, times, people)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A network whose weights are random, in files: ``model`` and ``checkpoint`` as they are asked for."""
    # Not above: the process that only hands tests out would import the networks' libraries too.
    from model.training.export import CHECKPOINT, export
    from tests.small_networks import small_networks

    folder = tmp_path_factory.mktemp("small")
    export(small_networks(), folder)
    return {"model": str(folder), "checkpoint": str(folder / CHECKPOINT)}


def start_local_ray() -> None:
    """A Ray of this process's own, with two cores whatever the machine has."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _system_config=UNWATCHED)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """The Ray of this test session."""
    start_local_ray()
    yield
    ray.shutdown()
