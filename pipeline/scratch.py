"""Folders for what is needed for a while, also when whoever needed it was killed: the next one takes them away."""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

# A folder is made before it is locked.
_YOUNG_S = 60.0


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder under ``TMPDIR`` that goes when the block ends.

    It is locked meanwhile. Those without a lock, of processes that were killed, are removed by each process once.
    """
    root = _root()
    if root is not None:
        _sweep(root)
    with tempfile.TemporaryDirectory(dir=root, prefix="mimicmotion-") as folder:
        lock = os.open(folder, os.O_RDONLY)
        try:
            # Some networks' disks have no locks. There nothing can be told, nor is it removed.
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_SH)
            yield Path(folder)
        finally:
            os.close(lock)


def _root() -> Path | None:
    """This user's own folder; ``None`` where another user has made one of its name."""
    root = Path(tempfile.gettempdir()) / f"mimicmotion-scratch-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    return root if root.lstat().st_uid == os.getuid() and not root.is_symlink() else None


@functools.cache
def _sweep(root: Path) -> None:
    for folder in root.iterdir():
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime < _YOUNG_S:
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                log.info("%s: removed, it was left by a process that was killed", folder)
            finally:
                os.close(lock)
