"""How far the work is: workers tell a board, the driver shows it in one line."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray

from cluster.exiting import exit_at_once
from cluster.main_thread import MainThread
from pipeline.progress_line import shown, time_left

Stages = Mapping[str, tuple[float, float]]
"""Where each stage begins and what share of a video's time it has."""

# Between a laptop, where decoding is a large part, and a GPU, where nearly all is denoising: rather too long a time
# left at the end than too short a one.
ANIMATION: Stages = {"poses": (0.0, 0.2), "step": (0.2, 0.5), "frame": (0.7, 0.3)}
EXTRACTION: Stages = {"poses": (0.0, 1.0)}


@dataclass
class Status:
    """Where the rows at work are: id to (stage, done, total). ``frames`` finished in this run so far."""

    active: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    frames: int = 0


# How often a board looks whether somebody has called, unless calls are to be answered at once.
_LOOKS_EVERY_S = 0.25
_HURRIES_FOR_S = 0.25


class ProgressBoard:
    """What the workers last said. An actor, so that asking and telling never wait for work."""

    def __init__(self) -> None:
        exit_at_once()
        self._status = Status()
        self._main, self._hurried = MainThread(_LOOKS_EVERY_S), 0.0
        threading.Thread(target=self._doze, daemon=True).start()

    def hurry(self) -> None:
        """Answer at once for a while: somebody is about to call who waits for the answer."""
        self._hurried = time.monotonic()
        self._main.wake()

    def _doze(self) -> None:
        while True:
            time.sleep(_HURRIES_FOR_S)
            if time.monotonic() - self._hurried > _HURRIES_FOR_S:
                self._main.rest()

    def report(self, row_id: str, stage: str, done: int, total: int) -> None:
        self._status.active[row_id] = (stage, done, total)

    def finish(self, row_id: str, frames: int) -> None:
        self._status.active.pop(row_id, None)
        self._status.frames += frames

    def status(self) -> Status:
        return self._status


class Reporter:
    """A worker's line to the board of that name, used at most once a second."""

    def __init__(self, board: str) -> None:
        self._board = ray.get_actor(board)
        self._last = 0.0

    def report(self, row_id: str, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last > 1.0 or done == total:
            self._last = now
            self._board.report.remote(row_id, stage, done, total)

    def finish(self, row_id: str, frames: int) -> None:
        self._board.finish.remote(row_id, frames)


class Display:
    """The driver's line: videos, what is at work, frames a second, time left."""

    def __init__(self, board: Any, total: int, stages: Stages = ANIMATION) -> None:
        self._board, self._total, self._stages = board, total, stages
        *_, self._counted = stages  # what the last stage has done are the frames that a video ends with
        self._done = self._failed = 0
        self._start = time.monotonic()

    def count(self, failed: bool) -> None:
        """One more row is finished."""
        self._done += not failed
        self._failed += failed

    @contextmanager
    def shown(self) -> Iterator[Display]:
        """Show it while the block runs."""
        with shown(self._line_now):
            yield self

    def _line_now(self) -> str | None:
        try:
            return self.line(ray.get(self._board.status.remote(), timeout=10))
        except ray.exceptions.RayError:
            return None

    def line(self, status: Status) -> str:
        """One line for people."""
        elapsed = time.monotonic() - self._start
        finished = self._done + self._failed
        begun = sum(
            self._stages[stage][0] + self._stages[stage][1] * done / total
            for stage, done, total in status.active.values()
        )
        parts = [f"{finished}/{self._total} videos"]
        if self._failed:
            parts.append(f"{self._failed} quarantined")
        parts += [f"{row}: {stage} {done}/{total}" for row, (stage, done, total) in list(status.active.items())[:3]]
        if frames := status.frames + sum(done for stage, done, _ in status.active.values() if stage == self._counted):
            parts.append(f"{frames / elapsed:.1f} frames/s")
        if left := time_left(elapsed, (finished + begun) / self._total):
            parts.append(left)
        return " · ".join(parts)
