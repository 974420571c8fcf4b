"""Odd, broken and hostile videos, and a job that is killed over and over. The full sets run with ``-m soak``."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from tests.jobs.toy_estimator import make_toy_dwpose
from tests.pipeline.hostile_videos import FAILING_DECODER, TRUNCATED, WHOLE, Expected, hostile_catalog

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Undisturbed:
    """A catalog, what must become of it, and what a run made of it."""

    catalog: Path
    expected: list[Expected]
    output: Path


@pytest.fixture(scope="module")
def decoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that makes every decoder that finds it on its path fail at files of certain names."""
    folder = tmp_path_factory.mktemp("decoders")
    (folder / "sitecustomize.py").write_text(FAILING_DECODER)
    return folder


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A backend that takes milliseconds and gives poses that depend on the picture."""
    return "--pose-estimator", "dwpose", "--pose-weights", str(make_toy_dwpose(tmp_path_factory.mktemp("toy")))


def start(catalog: Path, output: Path, decoders: Path, *options: str) -> subprocess.Popen[str]:
    command = [
        sys.executable, "jobs/extract_poses.py", "--videos", str(catalog), "--output", str(output),
        "--fps", "4", "--deadline", "8", *options,
    ]  # fmt: skip
    # A Ray of its own, whatever cluster runs on this machine.
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{decoders}", "RAY_ADDRESS": "local"}
    environment["OMP_NUM_THREADS"] = "1"
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(job: subprocess.Popen[str]) -> str:
    """What it printed; it must end with some rows in the quarantine."""
    out, errors = job.communicate()
    assert job.returncode == 3, out[-2000:] + errors[-3000:]
    return out


def rows(output: Path) -> pd.DataFrame:
    """What a reader without our code sees."""
    return pd.read_parquet(output / "poses")


def assert_as_expected(output: Path, expected: list[Expected]) -> None:
    videos = pd.read_parquet(output / "videos.parquet").set_index("uri")
    quarantine = pd.read_parquet(output / "quarantine.parquet").set_index("id")
    table = rows(output)
    assert quarantine.index.is_unique
    assert (quarantine["attempts"] <= 2).all()
    assert not videos.index.duplicated().any()
    assert not table.duplicated(["video_id", "frame_index", "person_id"]).any()
    good = {entry.name for entry in expected if entry.status}
    assert set(quarantine.index) == {entry.name for entry in expected} - good
    # Equal contents are one video, under the first of their names.
    assert set(videos.index) <= good
    assert len(good) - len(videos) == sum(Path(name).name.endswith("no-suffix") for name in good)
    for entry in expected:
        if entry.reason:
            assert entry.reason in quarantine.loc[entry.name, "message"]
        elif entry.name in videos.index:
            assert videos.loc[entry.name, "status"] == entry.status, entry.name
            assert videos.loc[entry.name, "frames"] >= 1, entry.name
    assert set(videos["status"]) == {WHOLE, TRUNCATED}
    assert set(table["video_id"]) <= set(videos["video_id"])
    for name, part in table.groupby("uri"):
        assert part["frame_index"].max() < videos.loc[name, "frames"]


def kill_often(
    catalog: Path, output: Path, decoders: Path, kills: int, options: tuple[str, ...], longest: float, seed: int = 0
) -> int:
    """Run the job and kill it ``kills`` times at random moments, then let it end. How often it really was killed."""
    moments = random.Random(seed)
    done = 0
    for _ in range(kills):
        job = start(catalog, output, decoders, *options)
        try:
            job.wait(moments.uniform(3, longest))
        except subprocess.TimeoutExpired:
            done += 1
        os.killpg(job.pid, signal.SIGKILL)
        job.communicate()
        assert_readable(output)
    finish(start(catalog, output, decoders, *options))
    return done


def assert_readable(output: Path) -> None:
    """Whatever a killed run left: no row twice, no table that cannot be read."""
    if list((output / "poses").glob("*.parquet")):
        assert not rows(output).duplicated(["video_id", "frame_index", "person_id"]).any()


def assert_equal(ours: Path, theirs: Path) -> None:
    """The same rows, row for row, and the same summaries."""
    order = ["video_id", "frame_index", "person_id"]
    first, second = (rows(output).sort_values(order, ignore_index=True) for output in (ours, theirs))
    pd.testing.assert_frame_equal(first, second)
    videos = [pd.read_parquet(output / "videos.parquet").drop(columns="table") for output in (ours, theirs)]
    pd.testing.assert_frame_equal(*videos)


def test_every_good_video_is_whole_and_every_bad_one_has_its_reason(tmp_path, decoders, toy):
    with hostile_catalog(tmp_path, copies=1) as (catalog, expected):
        said = finish(start(catalog, tmp_path / "out", decoders, *toy))
    assert_as_expected(tmp_path / "out", expected)
    assert "of known contents" in said


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, decoders: Path) -> Iterator[Undisturbed]:
    """Two hundred, and the holistic networks."""
    folder = tmp_path_factory.mktemp("large")
    with hostile_catalog(folder, copies=6) as (catalog, expected):
        assert len(expected) >= 200
        finish(start(catalog, folder / "out", decoders))
        yield Undisturbed(catalog, expected, folder / "out")


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_hundred_videos_in_one_run(large):
    assert_as_expected(large.output, large.expected)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(4))
def test_twenty_kills_at_random_moments_in_four_lots(tmp_path, decoders, large, seed):
    assert kill_often(large.catalog, tmp_path / "out", decoders, 5, (), longest=30, seed=seed) == 5
    assert_equal(tmp_path / "out", large.output)
