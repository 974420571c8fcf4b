from __future__ import annotations

import socket

import pytest

from model.artifacts import open_filesystem
from pipeline import retries
from pipeline.retries import is_final, is_outage, patiently


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(retries.time, "sleep", taken.append)
    return taken


class Store:
    """Fails so often, then answers."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.asked = failures, error, 0

    def ask(self) -> str:
        self.asked += 1
        if self.asked <= self.failures:
            raise self.error
        return "answer"


def test_errors_are_waited_out_longer_each_time(pauses):
    store = Store(3, OSError("503"))
    assert patiently(store.ask, "asking") == "answer"
    assert store.asked == 4
    assert pauses == sorted(pauses)
    assert all(longest / 2 <= pause <= longest for pause, longest in zip(pauses, retries.PAUSES_S, strict=True))


def test_in_the_end_the_error_is_raised():
    store = Store(99, OSError("503"))
    with pytest.raises(OSError, match="503"):
        patiently(store.ask, "asking")
    assert store.asked == 4


@pytest.mark.parametrize("error", [FileNotFoundError("x"), PermissionError("x")])
def test_what_will_not_change_is_asked_once(error, pauses):
    store = Store(99, error)
    with pytest.raises(type(error)):
        patiently(store.ask, "asking")
    assert store.asked == 1
    assert not pauses


def test_a_server_that_cannot_be_reached_is_not_a_missing_file():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        filesystem, url = open_filesystem(f"http://127.0.0.1:{taken.getsockname()[1]}/a.mp4")
        with pytest.raises(FileNotFoundError) as caught:
            filesystem.info(url)
    assert is_outage(caught.value)
    assert not is_final(caught.value)


def test_a_server_that_is_down_is_not_a_missing_file():
    class Answer(Exception):
        status = 503

    error = FileNotFoundError("url")
    error.__cause__ = Answer()
    store = Store(1, error)
    assert patiently(store.ask, "asking") == "answer"
