"""What makes a run another one, which does not go on from the first one's state."""

from __future__ import annotations

import dataclasses
import signal
import sys
import time
from pathlib import Path

import pytest
from ray.train.v2.api.exceptions import WorkerGroupError

from pipeline.claim import Claim, StorageError
from pipeline.inputs import InputError
from pipeline.training import run
from pipeline.training.loop import Pace
from pipeline.training.run import Request
from pipeline.training.settings import TrainingSettings


def fingerprint(settings: TrainingSettings) -> str:
    return Request(settings, "out", "model", None, None, (), None, None, 1, 1, "cpu", False, Pace()).fingerprint


def longer(settings: TrainingSettings) -> TrainingSettings:
    return dataclasses.replace(settings, steps=2 * settings.steps)


def test_a_run_at_a_constant_rate_may_be_given_more_steps():
    settings = TrainingSettings(schedule="constant")
    assert fingerprint(settings) == fingerprint(longer(settings))


def test_more_steps_make_another_run_where_they_say_what_a_step_learns():
    on_squares = TrainingSettings(objective="autoencoding", learn=("vae",), schedule="constant", crop=32)
    for settings in (TrainingSettings(schedule="cosine"), on_squares):
        assert fingerprint(settings) != fingerprint(longer(settings))


@pytest.fixture
def footage(tmp_path: Path) -> Request:
    """A run on tables that hold a few bytes."""
    for name in ("clips.parquet", "videos.parquet"):
        (tmp_path / name).write_bytes(b"before")
    clips = str(tmp_path / "clips.parquet")
    return Request(TrainingSettings(), "out", "model", None, None, (), clips, None, 1, 1, "cpu", False, Pace())


@pytest.mark.parametrize("name", ["clips.parquet", "videos.parquet"])
def test_other_clips_or_poses_at_the_same_place_make_another_run(footage, tmp_path, name):
    before = footage.fingerprint
    assert footage.fingerprint == before
    (tmp_path / name).write_bytes(b"after!")
    assert footage.fingerprint != before


def test_clips_that_are_not_there_are_named(footage, tmp_path):
    (tmp_path / "clips.parquet").unlink()
    with pytest.raises(InputError, match=r"table .*clips.parquet: no such file"):
        _ = footage.fingerprint


def test_workers_that_fail_too_often_are_an_error_that_jobs_know(monkeypatch):
    def fit(_: object) -> None:
        raise WorkerGroupError("CUDA error: out of memory", {0: RuntimeError("CUDA error: out of memory")})

    monkeypatch.setattr(run.TorchTrainer, "fit", fit)
    with pytest.raises(RuntimeError, match="out of memory"):
        run._fit(run.TorchTrainer.__new__(run.TorchTrainer))


def test_an_interruption_of_ray_train_is_one_of_the_job(monkeypatch):
    # As it is answered there: SIGINT ends the workers, and then this.
    monkeypatch.setattr(run.TorchTrainer, "fit", lambda self: sys.exit(1))
    with pytest.raises(KeyboardInterrupt):
        run._fit(run.TorchTrainer.__new__(run.TorchTrainer))


def test_an_output_that_another_run_has_taken_ends_this_one(monkeypatch):
    class Lost(Claim):
        def check(self) -> None:
            raise StorageError("output s3://b/run was taken over by pid 7 on other")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_LOOKS_EVERY_S", 0.05)
    before = signal.signal(signal.SIGTERM, interrupted)
    try:
        with pytest.raises(StorageError, match="taken over by pid 7"), run._while_ours(Lost()):
            time.sleep(20)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_output_that_is_ours_lets_the_run_end_as_it_does():
    with run._while_ours(Claim()):
        pass
    with pytest.raises(KeyboardInterrupt), run._while_ours(Claim()):
        raise KeyboardInterrupt
