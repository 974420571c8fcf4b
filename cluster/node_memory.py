"""What windows leave after a step, in memory that all workers of a node see and that outlives each of them.

As Ray's object store is, but without an owner that has to be told of every part: a step's parts are many, and most are
wanted on the node where they are made. They are files on the memory file system, each whole or not there.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from model.messages import Part

_MEMORY = Path("/dev/shm")
# Containers have 64 MB there unless they are told otherwise.
_ENOUGH = 1 << 30
# A node whose only worker was lost has another before that, or others have fetched what it left.
_SUCCESSOR_WITHIN_S = 120.0


STEPS_KEPT = 3
"""What was left after so many steps is there: the last is gone on from, those before it are what it could be made from
again.
"""


class NotHeld(RuntimeError):
    """A part that was to be held and is not, or not any more."""


@dataclass(frozen=True)
class PartKey:
    """What window ``source`` of a video left for ``consumer`` after a step. ``making`` is a name for this making of the
    video: one that is begun again has another.
    """

    making: str
    step: int
    source: int
    consumer: int


class NodeMemory:
    """The parts of one ``run`` on one ``node``; both are names. Every worker there has one of these, and what is left
    two minutes after all of them are gone is cleared away by those of other runs.
    """

    def __init__(self, run: str, node: str) -> None:
        self._folder = folder(run, node)
        self._lock = _joined(self._folder)
        self.sweep()

    @property
    def line(self) -> Path:
        """Where the coordinator of the run, if it is on this node, is to be called."""
        return self._folder / "line"

    def put(self, key: PartKey, part: Part) -> None:
        """Leave a part, unless its video is being let go of. Raises ``OSError``, for want of room for instance."""
        path, step = _path(self._folder, key), f"{self._folder}/{key.making}/{key.step}"
        unfinished = f"{path}.{os.getpid()}"
        try:
            os.makedirs(step, exist_ok=True)
            # Memory that one already is had five times as fast as new one.
            with suppress(FileNotFoundError):
                os.replace(_path(self._folder, replace(key, step=key.step - STEPS_KEPT)), unfinished)
            with open(os.open(unfinished, os.O_RDWR | os.O_CREAT, 0o600), "wb") as file:
                file.write(_header(part))
                for array in (part.done, part.shared, part.before):
                    file.write(array.ravel().view(np.uint8).data)
                file.truncate()
            os.replace(unfinished, path)
        except FileNotFoundError:
            # Its folder is gone: so is the video, or the part is made again.
            return
        except OSError:
            with suppress(FileNotFoundError):
                os.unlink(unfinished)
            raise

    def get(self, key: PartKey) -> Part:
        """Raises ``NotHeld``."""
        return read(self._folder, key)

    def drop(self, making: str, step: int | None = None) -> None:
        """Let go of all parts of a video, or of those that nobody needs who is at ``step``."""
        path = self._folder / making
        shutil.rmtree(path if step is None else path / str(step - STEPS_KEPT - 1), ignore_errors=True)

    def sweep(self) -> None:
        """Clear away what other runs have left."""
        _sweep(self._folder.parent)


def folder(run: str, node: str) -> Path:
    """Where a run's parts are on the node whose process asks."""
    roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).total >= _ENOUGH
    return (_MEMORY if roomy else Path(tempfile.gettempdir())) / f"mimicmotion-{os.getuid()}" / f"{run}-{node}"


def read(place: Path, key: PartKey) -> Part:
    """A part in a folder. Raises ``NotHeld``."""
    path = _path(place, key)
    try:
        with open(path, "rb") as file:
            dtype, shapes = json.loads(file.readline())
            arrays = [np.empty(shape, dtype) for shape in shapes]
            for array in arrays:
                file.readinto(array.ravel().view(np.uint8).data)
            # What has another name by now may have been written over.
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return Part(*arrays)
    except (FileNotFoundError, ValueError):
        pass
    raise NotHeld(f"what window {key.source} left for {key.consumer} after step {key.step}")


def _header(part: Part) -> bytes:
    shapes = [array.shape for array in (part.done, part.shared, part.before)]
    return json.dumps([part.done.dtype.str, shapes]).encode() + b"\n"


def _path(place: Path, key: PartKey) -> str:
    # Many a step, and a Path takes longer to make than its file to be opened.
    return f"{place}/{key.making}/{key.step}/{key.source}-{key.consumer}.part"


def _joined(place: Path) -> int:
    """A folder that stays as long as somebody has the lock that comes back. Raises ``PermissionError``."""
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if place.parent.lstat().st_uid != os.getuid():
        raise PermissionError(f"{place.parent} belongs to another user; remove it")
    while True:
        place.mkdir(exist_ok=True)
        try:
            lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_SH)
        # Somebody who swept may have removed it in between.
        if os.fstat(lock).st_nlink:
            return lock
        os.close(lock)


def _sweep(root: Path) -> None:
    """Remove what runs have left whose workers are all gone, and have been for a while."""
    for place in root.iterdir():
        if time.time() - _last_change(place) < _SUCCESSOR_WITHIN_S:
            continue
        try:
            lock = os.open(place / "lock", os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(place, ignore_errors=True)
        finally:
            os.close(lock)


def _last_change(place: Path) -> float:
    """When a part was last left in a run's folder, or that was made, in seconds since the epoch."""
    try:
        return max(path.stat().st_mtime for path in (place, *place.glob("*"), *place.glob("*/*")))
    except FileNotFoundError:
        # Something is going away just now.
        return time.time()
