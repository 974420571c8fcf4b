"""What is believed of decord, on a stand-in that errs as the real one was seen to."""

import importlib
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.decoding.protocol import Refused
from tests.pipeline.decoding.heard import Heard


def picture(number: int) -> np.ndarray:
    return np.full((2, 2, 3), number, np.uint8)


class Reader:
    """Ten frames at 10 fps. It passes frame 6 off as frame 5, and admits it on the call after."""

    made_up, first = 5, 0

    def __init__(self, path: str, **settings: float) -> None:
        self.at = 0

    def __len__(self) -> int:
        return 10

    def get_frame_timestamp(self, indices: np.ndarray) -> np.ndarray:
        return np.stack([indices / 10, (indices + 1) / 10], 1).astype(np.float32)

    def next(self) -> SimpleNamespace:
        if self.at > self.made_up:
            raise RuntimeError("more than 0 frames were recovered from a neighbour")
        number = self.at + self.first + (self.at == self.made_up)
        self.at += 1
        return SimpleNamespace(asnumpy=lambda: picture(number))


def numbers(heard: Heard) -> list[int]:
    return [int(pixels[0, 0, 0]) for pixels in heard.pictures]


def decode(monkeypatch: pytest.MonkeyPatch, heard: Heard, frames: int = 10, **reader: int) -> None:
    monkeypatch.setitem(sys.modules, "decord", SimpleNamespace(VideoReader=type("VideoReader", (Reader,), reader)))
    monkeypatch.delitem(sys.modules, "pipeline.decoding.with_decord", raising=False)
    module = importlib.import_module("pipeline.decoding.with_decord")
    request = {
        "path": "clip.mp4",
        "time_base": [1, 10],
        "width": 2,
        "height": 2,
        "first_picture": zlib.crc32(picture(0).data),
    }
    module.decode_with_decord(request, np.arange(frames), heard)


def test_a_made_up_frame_is_not_passed_on(monkeypatch):
    heard = Heard()

    with pytest.raises(RuntimeError, match="recovered"):
        decode(monkeypatch, heard)

    assert numbers(heard) == [0, 1, 2, 3, 4]


def test_sound_frames_are_passed_on_in_order(monkeypatch):
    heard = Heard()

    decode(monkeypatch, heard, made_up=99)

    assert numbers(heard) == [*range(10)]


def test_a_reader_that_starts_at_a_later_key_frame_is_refused(monkeypatch):
    heard = Heard()

    with pytest.raises(Refused, match="first frame is not the video's first"):
        decode(monkeypatch, heard, first=3)

    assert not heard.pictures


def test_a_reader_that_counts_otherwise_is_refused(monkeypatch):
    with pytest.raises(Refused, match="counts 10 frames where the packets hold 9"):
        decode(monkeypatch, Heard(), frames=9)
