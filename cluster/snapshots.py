"""The state of a long video between two steps, kept where the next run finds it.

A snapshot is one file a window, written by whoever has the window, and then one that says they are all there. A reader
never sees a snapshot in part, and the one before stays until the next is whole.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

log = logging.getLogger(__name__)


class Store(Protocol):
    """Where files are kept. ``write`` publishes in one step; ``read`` gives ``None`` for what is not there."""

    def write(self, name: str, contents: bytes) -> None: ...

    def read(self, name: str) -> bytes | None: ...

    def remove(self, name: str) -> None: ...


class SnapshotUnreadable(RuntimeError):
    """A snapshot that says it is whole and is not."""


_FILE = re.compile(r"[^/]+/[^/]+/(progress|step-\d{4,}-window-\d{4,})\.safetensors")


def is_snapshot(name: str) -> bool:
    """Whether a file, named ``VIDEO/FINGERPRINT/FILE``, is one of a snapshot."""
    return _FILE.fullmatch(name) is not None


@dataclass(frozen=True, eq=False)
class Progress:
    """``step`` steps are done, in as many files as the next one has ``windows``; ``reference`` are the latents of frame
    0 after them, (4, h, w).
    """

    step: int
    windows: int
    reference: np.ndarray


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of one video in a ``folder`` of a ``store``. The folder's name has to say all that the latents
    depend on.
    """

    store: Store
    folder: str

    def write_window(self, step: int, window: int, latents: np.ndarray) -> None:
        """Keep a window's latents, (L, 4, h, w), as they are before ``step``."""
        self.store.write(self._window(step, window), save({"latents": latents}))

    def read_window(self, step: int, window: int) -> np.ndarray:
        """Raises ``SnapshotUnreadable``."""
        name = self._window(step, window)
        contents = self.store.read(name)
        if contents is None:
            raise SnapshotUnreadable(f"snapshot {name} is gone")
        try:
            return load(contents)["latents"]
        except (SafetensorError, KeyError) as error:
            raise SnapshotUnreadable(f"snapshot {name} cannot be read ({error})") from error

    def write_progress(self, progress: Progress) -> None:
        """Say that all files of a step are there, and drop those of the step before it."""
        before = self.read_progress()
        numbers = np.array([progress.step, progress.windows])
        self.store.write(self._progress, save({"reference": progress.reference, "progress": numbers}))
        if before is not None and before.step != progress.step:
            self._drop(before)

    def read_progress(self) -> Progress | None:
        """The last whole snapshot, if there is one."""
        contents = self.store.read(self._progress)
        if contents is None:
            return None
        try:
            found = load(contents)
            step, windows = (int(number) for number in found["progress"])
            return Progress(step, windows, found["reference"])
        except (SafetensorError, KeyError, ValueError) as error:
            log.warning("snapshot %s cannot be read (%s): starting afresh", self._progress, error)
            return None

    def clear(self) -> None:
        """Remove the last snapshot: the video is finished."""
        progress = self.read_progress()
        self.store.remove(self._progress)
        if progress is not None:
            self._drop(progress)

    def _drop(self, progress: Progress) -> None:
        for window in range(progress.windows):
            self.store.remove(self._window(progress.step, window))

    @property
    def _progress(self) -> str:
        return f"{self.folder}/progress.safetensors"

    def _window(self, step: int, window: int) -> str:
        return f"{self.folder}/step-{step:04}-window-{window:04}.safetensors"
