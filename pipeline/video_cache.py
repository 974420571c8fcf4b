"""Videos of stores on a node's own disk, for as long as there is room: a training run comes back to each many times.

They lie under ``videos`` in the cache, take a tenth of its disk at most and leave as much free; what was used longest
ago goes first. Files are locked while they are brought or used. Locks end with their processes, so one that is killed
leaves nothing that is taken for a video, and nothing that stays for ever.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from model.artifacts import cache_root

SHARE = 0.1
"""Of its disk that the cache takes at most, and that it leaves free: Ray fails where a twentieth is left."""


@contextmanager
def cached_file(name: str, size: int, bring: Callable[[Path], None]) -> Iterator[Path]:
    """The file of ``size`` bytes that ``bring`` has written to a path given to it, now or earlier under this ``name``.

    It stays where it is until the block ends. Raises what ``bring`` raises, and ``OSError`` where the cache has no room
    for it or cannot be written.
    """
    folder = cache_root() / "videos"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    while True:
        _brought(path, size, bring)
        try:
            file = path.open("rb")
        except FileNotFoundError:  # to make room for others
            continue
        with file:
            fcntl.flock(file, fcntl.LOCK_SH)
            if _is_at(file, path):
                os.utime(path)
                yield path
                return


def _brought(path: Path, size: int, bring: Callable[[Path], None]) -> None:
    """Have the file brought, unless it is there or somebody else does it: then wait for them."""
    part = path.with_name(f"{path.name}.part")
    while not path.exists():
        with part.open("ab") as file:  # which may be somebody's: it is not emptied before it is locked
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(file, part):
                continue
            if path.exists():
                part.unlink()
                return
            try:
                file.truncate(0)
                _make_room(path.parent, size)
                bring(part)
                part.rename(path)
            except BaseException:
                part.unlink()
                raise


def _make_room(folder: Path, size: int) -> None:
    """Remove what was used longest ago, and is not in use, until ``size`` more bytes fit. Raises ``OSError`` if not."""
    found = []
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            facts = path.stat()
            found.append((facts.st_mtime_ns, facts.st_size, path))
    held, disk = sum(bytes_ for _, bytes_, _ in found), shutil.disk_usage(folder)
    most = min(SHARE * disk.total, held + disk.free - SHARE * disk.total)
    for _, bytes_, path in sorted(found) if size <= most else ():
        if held + size <= most:
            break
        held -= bytes_ * _removed(path)
    if held + size > most:
        raise OSError(errno.ENOSPC, f"no room in {folder}")


def _removed(path: Path) -> bool:
    """Whether the file is gone: one that is in use stays."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                path.unlink()
    except BlockingIOError:
        return False
    except FileNotFoundError:
        pass
    return True


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Whether an open file is still what lies at ``path``."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
