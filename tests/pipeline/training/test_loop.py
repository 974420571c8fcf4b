"""What the training loop leaves in memory."""

from __future__ import annotations

import json
import math
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.storage import Storage
from pipeline.training import loop
from pipeline.training.learner import Learner
from pipeline.training.loop import Pace, Report, Work, train
from pipeline.training.parallel import Workers
from pipeline.training.settings import TrainingSettings
from tests.model.training.networks import random_clip, small_networks


class _State(dict[str, Any]):
    """A state that can be asked whether it is still there."""


class _Asked(Exception):
    """The first clips are wanted."""


def test_the_state_that_a_run_goes_on_from_is_gone_when_it_learns(tmp_path, monkeypatch):
    state = _State()
    there, restored = weakref.ref(state), []
    given = [state]
    del state
    monkeypatch.setattr(loop, "load_state", lambda *_: given.pop())

    def stream(*_: object) -> None:
        assert restored
        assert there() is None
        raise _Asked

    monkeypatch.setattr(loop, "stream_clips", stream)
    learner: Any = SimpleNamespace(
        step=3,
        settings=TrainingSettings(),
        networks=SimpleNamespace(digest="w"),
        restore=lambda _: restored.append(True),
    )
    work = Work(lambda _: learner, lambda _: None, list, str(tmp_path), "f", Pace(), threads=1, clip_bytes=1)
    with pytest.raises(_Asked):
        train(work, Workers(rank=1, world=2))


def test_a_state_is_asked_for_by_the_weights_that_were_started_from_too(tmp_path, monkeypatch):
    asked = []

    def load(_: object, fingerprint: str) -> None:
        asked.append(fingerprint)
        raise _Asked

    monkeypatch.setattr(loop, "load_state", load)
    for digest in ("first", "second", "second"):
        learner: Any = SimpleNamespace(networks=SimpleNamespace(digest=digest))
        work = Work(lambda _, it=learner: it, lambda _: None, list, str(tmp_path), "f", Pace(), 1, clip_bytes=1)
        with pytest.raises(_Asked):
            train(work, Workers())
    assert asked[0] != asked[1] == asked[2]


def test_a_picture_that_cannot_be_drawn_costs_no_step(tmp_path, monkeypatch):
    settings = TrainingSettings(start="scratch", steps=2, batch=1, frames=3, width=16, height=16)
    clips = [random_clip(0)]

    def draw(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(loop, "sample_grid", draw)
    monkeypatch.setattr(loop, "stream_clips", lambda _make, first, *_: iter([clips] * (settings.steps - first)))

    def load(workers: Workers) -> Learner:
        return Learner(settings, small_networks(), "cpu", workers)

    work = Work(load, lambda _: None, lambda: clips, str(tmp_path), "f", Pace(save_every=1, picture_every=1), 1, 1)
    for _ in range(settings.steps):
        with pytest.raises(MemoryError):
            train(work, Workers())
    train(work, Workers())
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").open()] == [0, 1]
    assert (tmp_path / "export").is_dir()


def test_what_json_does_not_know_is_told_as_nothing(tmp_path, caplog):
    report = Report(Storage(str(tmp_path)), 0, 1)
    report.step(0, {"loss": math.nan, "gradient_norm": math.inf})
    report.validation(math.nan)
    assert report.taken() == [{"step": 0, "loss": None, "gradient_norm": None, "validation_loss": None}]
    assert "step 1: nothing is learnt from its clips" in caplog.text
