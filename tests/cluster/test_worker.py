"""A worker whose GPU is lost."""

import os
from typing import Any

import numpy as np
import pytest
import torch

from cluster.orders import ChunkOrder, StepOrder, WindowOrder, packed
from cluster.worker import SegmentWorker
from model.messages import Assembly
from tests.cluster.toy import SHAPE, ToyContent, ToyEngine

REFERENCE = np.zeros(SHAPE, np.float32)
WINDOW = packed(WindowOrder("video", "making", 0, (0, 1, 2), (), (), (), 1.0))
NOW = packed(StepOrder(0, REFERENCE, False, False))
CHUNK = packed(ChunkOrder("video", "making", 0, Assembly(6, (1, 2), ()), REFERENCE, (0, 0)))


class Ended(BaseException):
    """In place of the end of the process."""


@pytest.fixture
def worker(monkeypatch) -> SegmentWorker:
    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    worker = SegmentWorker(b"", "run")
    worker._engine = ToyEngine()
    worker.open("video", ToyContent())  # type: ignore[arg-type]
    return worker


@pytest.mark.parametrize(
    ("where", "method", "arguments"),
    [
        ("open", "open", ("another", ToyContent())),
        ("assemble", "step", (WINDOW, NOW)),
        ("predict", "step", (WINDOW, NOW)),
        ("hand_over", "step", (WINDOW, NOW)),
        ("assemble", "half", (WINDOW, NOW, True)),
        ("guide", "finish", (WINDOW, NOW, REFERENCE, REFERENCE)),
        ("decode", "decode", (CHUNK,)),
    ],
)
def test_it_ends_wherever_that_shows(worker, monkeypatch, where: str, method: str, arguments: Any):
    def lost(*arguments: Any) -> None:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(worker._engine, where, lost)
    monkeypatch.setattr(worker, "_memory", type("Memory", (), {"drop": lambda *_: None})())
    with pytest.raises(Ended):
        getattr(worker, method)(*arguments)


def test_it_lives_on_after_any_other_error(worker, monkeypatch):
    def too_much(*arguments: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(worker._engine, "predict", too_much)
    with pytest.raises(torch.OutOfMemoryError):
        worker.step(WINDOW, NOW)
