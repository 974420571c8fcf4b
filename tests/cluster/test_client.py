"""What a client does when something that it was promised is gone."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorUnavailableError, ObjectLostError

from cluster import client
from model.messages import Chunk
from model.settings import AnimationSettings

FRAMES = 10
SETTINGS = AnimationSettings(resolution="16x16", window=6, overlap=2, steps=2, decode_chunk=3, decode_overlap=0)


class Coordinator:
    """Answers at once; what is fetched is a function that ``ray.get`` calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, losses: dict[int, list[Exception]]) -> None:
        self.asked: list[str] = []
        self._losses = losses
        monkeypatch.setattr(client.ray, "get", lambda promise: promise() if callable(promise) else promise)
        monkeypatch.setattr(client.ray, "put", lambda value: value)
        monkeypatch.setattr(client.time, "sleep", lambda seconds: None)
        monkeypatch.setattr(client.SceneContent, "of", lambda *arguments: None)
        for name in ("start", "steps_done", "chunk", "finish"):
            setattr(self, name, SimpleNamespace(remote=getattr(self, f"_{name}")))

    def _start(self, job: Any, content: Any, nbytes: int) -> None:
        self.asked.append("start")

    def _steps_done(self, name: str, more_than: int) -> int:
        return SETTINGS.steps

    def _finish(self, name: str) -> None:
        self.asked.append("finish")

    def _chunk(self, name: str, number: int) -> list[Callable[[], Chunk]]:
        self.asked.append(f"chunk {number}")

        def fetched() -> Chunk:
            if self._losses.get(number):
                raise self._losses[number].pop()
            start, stop = SETTINGS.decode_spans(FRAMES)[number]
            body = np.stack([np.full((16, 16, 3), frame, np.uint8) for frame in range(start, stop)])
            nothing = np.zeros((0, 3, 16, 16), np.float32)
            return Chunk(nothing, body, nothing)

        return [fetched]


def frames_of(coordinator: Coordinator) -> list[int]:
    scene: Any = SimpleNamespace(poses=range(FRAMES), picture=np.zeros((16, 16, 3), np.uint8))
    return [int(frame[0, 0, 0]) for frame in client.animate(coordinator, "video", scene, SETTINGS)]


def lost() -> ObjectLostError:
    return ObjectLostError("00" * 28, None, "")


def test_a_chunk_that_went_with_its_node_is_asked_for_again(monkeypatch):
    undisturbed = frames_of(Coordinator(monkeypatch, {}))
    coordinator = Coordinator(monkeypatch, {number: [lost(), lost(), lost()] for number in range(3)})
    assert frames_of(coordinator) == undisturbed
    assert coordinator.asked.count("start") == 1
    assert coordinator.asked.count("chunk 1") == 4


def test_a_coordinator_that_is_lost_is_given_the_video_again(monkeypatch):
    undisturbed = frames_of(Coordinator(monkeypatch, {}))
    coordinator = Coordinator(monkeypatch, {1: [ActorUnavailableError("gone", None)]})
    assert frames_of(coordinator) == undisturbed
    assert coordinator.asked.count("start") == 2


def test_what_is_lost_over_and_over_is_given_up(monkeypatch):
    coordinator = Coordinator(monkeypatch, {1: [lost() for _ in range(20)]})
    with pytest.raises(ObjectLostError):
        frames_of(coordinator)
    assert coordinator.asked[-1] == "finish"
