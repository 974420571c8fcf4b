"""What the training loop leaves in memory."""

from __future__ import annotations

import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.training import loop
from pipeline.training.loop import Pace, Work, train
from pipeline.training.parallel import Workers
from pipeline.training.settings import TrainingSettings


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
