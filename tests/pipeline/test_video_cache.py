"""Videos of stores on a node's disk: brought once, kept while there is room, never taken away while they are used."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline import video_cache
from pipeline.video_cache import SHARE, cached_file

ROOT = Path(__file__).parents[2]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIMICMOTION_CACHE", str(tmp_path))
    return tmp_path / "videos"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache may take 10 bytes."""
    monkeypatch.setattr(video_cache.shutil, "disk_usage", lambda _: Usage(round(10 / SHARE), 0, 50))


def use(name: str, size: int = 4) -> bytes:
    with cached_file(name, size, lambda path: put(path, name.encode() * size)) as path:
        return path.read_bytes()


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_used_longest_ago_makes_room(folder, small):
    for name in ("a", "b", "a", "c"):
        assert use(name) == name.encode() * 4
        time.sleep(0.01)  # which the clock of a disk may need to tell one from the next
    assert names(folder) == ["a", "c"]


def test_what_is_in_use_stays_even_where_there_is_no_room_then(folder, small):
    with cached_file("a", 4, lambda path: put(path, b"aaaa")), cached_file("b", 4, lambda path: put(path, b"bbbb")):
        with pytest.raises(OSError, match="no room"):
            use("c")
        assert names(folder) == ["a", "b"]
    use("c")
    assert names(folder) == ["b", "c"]


@pytest.mark.parametrize("size", [11, 60])
def test_what_is_larger_than_the_room_removes_nothing(folder, small, size):
    use("a")
    with pytest.raises(OSError, match="no room"):
        use("b", size)
    assert names(folder) == ["a"]


def test_a_tenth_of_the_disk_stays_free(folder, monkeypatch):
    def leave(free: int) -> None:
        monkeypatch.setattr(video_cache.shutil, "disk_usage", lambda _: Usage(1000, 1000 - free, free))

    leave(104)
    use("a")
    leave(100)
    use("b")
    assert names(folder) == ["b"]
    leave(90)
    with pytest.raises(OSError, match="no room"):
        use("c")
    assert names(folder) == ["b"]


def test_what_cannot_be_brought_is_brought_by_whoever_asks_next(folder):
    def cut_off(path: Path) -> None:
        path.write_bytes(b"aa")
        raise ConnectionError("reset")

    with pytest.raises(ConnectionError, match="reset"), cached_file("a", 4, cut_off):
        pass
    assert names(folder) == []
    assert use("a") == b"aaaa"


def test_of_many_who_ask_at_once_one_brings_it(folder):
    brought, all_ask = [], threading.Barrier(8)

    def bring(path: Path) -> None:
        brought.append(path)
        time.sleep(0.2)
        path.write_bytes(b"aaaa")

    def ask(_: int) -> bytes:
        all_ask.wait()
        with cached_file("a", 4, bring) as path:
            return path.read_bytes()

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(8))) == [b"aaaa"] * 8
    assert len(brought) == 1
    assert names(folder) == ["a"]


def test_one_that_is_killed_while_it_brings_or_uses_something_is_in_nobodys_way(folder, small):
    held = """
import sys, time
from pipeline.video_cache import cached_file

def bring(path):
    path.write_bytes(b"xxxx")
    if sys.argv[1] == "b":
        print(flush=True)
        time.sleep(60)
with cached_file(sys.argv[1], 4, bring):
    print(flush=True)
    time.sleep(60)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for name in ("b", "u"):
        child = subprocess.Popen([sys.executable, "-c", held, name], stdout=subprocess.PIPE, env=environment)
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    assert names(folder) == ["b.part", "u"]
    assert use("b") == b"bbbb"
    use("c")
    assert names(folder) == ["b", "c"]


def test_whoever_else_makes_room_meanwhile_a_file_is_there_while_it_is_used(small):
    def many(seed: int) -> int:
        used = 0
        for turn in range(200):
            name = "abcde"[(seed * turn + turn // 7) % 5]
            try:
                used += use(name) == name.encode() * 4
            except OSError as error:
                if error.errno != errno.ENOSPC:  # all the room is in use
                    raise
        return used

    with ThreadPoolExecutor(4) as threads:
        assert all(used > 100 for used in threads.map(many, range(1, 5)))
