"""One line that says how far the work is: on a terminal all the time, in a log now and then."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from pipeline.threads import in_threads

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def shown(line: Callable[[], str | None]) -> Iterator[None]:
    """Show what ``line`` says while the block runs: twice a second on a terminal, else a log line every 30 seconds.

    ``line`` is called from another thread; ``None`` is not shown.
    """
    terminal = sys.stderr.isatty()
    stop = threading.Event()

    def show() -> None:
        while not stop.wait(0.5 if terminal else 30):
            if (text := line()) is None:
                continue
            if terminal:
                sys.stderr.write(f"\r\x1b[K{text[:160]}")
                sys.stderr.flush()
            else:
                log.info("%s", text)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        if terminal:
            sys.stderr.write("\r\x1b[K")


def time_left(elapsed: float, share: float) -> str | None:
    """``H:MM:SS left`` when ``share`` of the work took ``elapsed`` seconds; ``None`` too early to tell."""
    if share <= 0.02:
        return None
    left = int(elapsed / share - elapsed)
    return f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"


class Tally:
    """How many things are done, for work in one process."""

    def __init__(self, things: str, total: int = 0) -> None:
        self._things, self._total = things, total
        self._done = 0
        self._start = time.monotonic()

    def count(self) -> None:
        """One more is done."""
        self._done += 1

    def reach(self, done: int, total: int) -> None:
        """So many are done now, of so many."""
        self._done, self._total = done, total

    def line(self) -> str:
        """One line for people."""
        left = time_left(time.monotonic() - self._start, self._done / max(self._total, 1))
        return " · ".join(filter(None, [f"{self._done:,}/{self._total:,} {self._things}", left]))


def counted(function: Callable[[T], R], items: Sequence[T], things: str) -> list[R]:
    """What ``function`` returns for each item, in threads and in order; it is shown meanwhile how many are done."""
    tally = Tally(things, len(items))
    with shown(tally.line):
        return in_threads(function, items, tally.count)
