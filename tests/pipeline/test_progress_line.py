"""What is shown of work that goes on."""

from __future__ import annotations

import io
import sys
import threading

import pytest

from pipeline.progress_line import counted


class Terminal(io.StringIO):
    """Tells when a line is shown."""

    def __init__(self, awaited: str) -> None:
        super().__init__()
        self._awaited, self.seen = awaited, threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._awaited in text:
            self.seen.set()
        return super().write(text)


def test_it_is_shown_how_many_are_done_while_others_are_not(monkeypatch):
    terminal = Terminal("3/4 videos")
    monkeypatch.setattr(sys, "stderr", terminal)

    def ask(item: int) -> int:
        assert item < 3 or terminal.seen.wait(timeout=30)
        return -item

    assert counted(ask, range(4), "videos") == [0, -1, -2, -3]
    assert terminal.getvalue().endswith("\r\x1b[K"), "nothing stays on the line"


def test_an_error_is_that_of_the_first_item(monkeypatch):
    def ask(item: int) -> int:
        raise ValueError(str(item))

    with pytest.raises(ValueError, match=r"^0$"):
        counted(ask, range(8), "videos")
