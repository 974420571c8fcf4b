"""What many tests share: real footage, fetched once, and one local Ray."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import pytest
import ray
import torch

from pipeline.footage import dancer_clip

# Small networks lose more to threads that wait for each other than they gain.
torch.set_num_threads(1)


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
def local_ray() -> Iterator[None]:
    """A Ray of this test session's own, with two cores whatever the machine has."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
