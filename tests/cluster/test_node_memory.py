"""What windows leave for each other on a node: whole or not there, and cleared away when nobody is left."""

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster import node_memory
from cluster.node_memory import STEPS_KEPT, NodeMemory, NotHeld, PartKey, folder, read
from model.messages import Part

KEY = PartKey("making", 5, 1, 2)


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    monkeypatch.setattr(node_memory, "_MEMORY", tmp_path)
    return tmp_path


def part(value: float, frames: int = 3, dtype: type = np.float32) -> Part:
    return Part(*(np.full((count, 4, 2, 2), value + count, dtype) for count in (frames, 2, 0)))


def equal(found: Part, expected: Part) -> bool:
    pairs = zip(vars(found).values(), vars(expected).values(), strict=True)
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([np.float16, np.float32])), min_size=1, max_size=9))
def test_what_is_put_is_had_again_whatever_was_there_before(steps):
    held, later = NodeMemory("run", "node"), NodeMemory("run", "node")
    for step, (frames, dtype) in enumerate(steps):
        left = part(step, frames, dtype)
        held.put(replace(KEY, step=step), left)
        assert equal(later.get(replace(KEY, step=step)), left)


def test_the_memory_of_a_step_that_nobody_needs_is_used_again():
    held = NodeMemory("run", "node")
    held.put(KEY, part(1, 30))
    old = os.stat(folder("run", "node") / "making" / "5" / "1-2.part").st_ino
    held.put(replace(KEY, step=5 + STEPS_KEPT), part(2, 3))
    file = folder("run", "node") / "making" / "8" / "1-2.part"
    assert file.stat().st_ino == old
    assert equal(held.get(replace(KEY, step=5 + STEPS_KEPT)), part(2, 3))
    with pytest.raises(NotHeld, match="window 1 left for 2 after step 5"):
        held.get(KEY)


def test_what_is_written_over_while_it_is_read_is_not_taken_for_the_part(monkeypatch):
    held = NodeMemory("run", "node")
    held.put(KEY, part(1))
    loads = node_memory.json.loads

    def overtaken(header: bytes):
        held.put(replace(KEY, step=5 + STEPS_KEPT), part(2))
        return loads(header)

    monkeypatch.setattr(node_memory.json, "loads", overtaken)
    with pytest.raises(NotHeld):
        held.get(KEY)


def test_a_part_that_cannot_be_written_leaves_nothing_behind(memory, monkeypatch):
    held = NodeMemory("run", "node")

    def full(part: Part) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(node_memory, "_header", full)
    with pytest.raises(OSError, match="No space"):
        held.put(KEY, part(1))
    assert not [path for path in memory.rglob("*") if path.is_file() and path.name != "lock"]


def test_a_video_may_be_let_go_of_while_a_part_of_it_is_put():
    held, stop = NodeMemory("run", "node"), threading.Event()

    def let_go() -> None:
        while not stop.is_set():
            held.drop("making")

    thread = threading.Thread(target=let_go)
    thread.start()
    try:
        for step in range(500):
            held.put(replace(KEY, step=step), part(step))
    finally:
        stop.set()
        thread.join()


def test_readers_see_a_part_whole_while_it_is_put_over_and_over():
    held, stop, torn = NodeMemory("run", "node"), threading.Event(), []

    def put() -> None:
        step = 0
        while not stop.is_set():
            held.put(replace(KEY, step=step), part(step, 40))
            held.drop("making", step)
            step += 1

    thread = threading.Thread(target=put)
    thread.start()
    reader, seen = NodeMemory("run", "node"), 0
    try:
        for step in range(100_000):
            try:
                torn += [] if equal(reader.get(replace(KEY, step=step)), part(step, 40)) else [step]
                seen += 1
            except NotHeld:
                pass
            if seen > 50:
                break
    finally:
        stop.set()
        thread.join()
    assert not torn


def test_steps_and_videos_are_let_go_of(memory):
    held = NodeMemory("run", "node")
    for step in range(6):
        held.put(PartKey("making", step, step, 0), part(step))
        held.drop("making", step)
    assert sorted(path.name for path in (folder("run", "node") / "making").iterdir()) == ["2", "3", "4", "5"]
    held.put(replace(KEY, making="other"), part(7))
    held.drop("making")
    assert [path.name for path in folder("run", "node").iterdir() if path.is_dir()] == ["other"]


def hold(memory: Path, run: str, ready) -> None:
    node_memory._MEMORY = memory
    held = NodeMemory(run, "node")
    held.put(KEY, part(1))
    ready.set()
    time.sleep(60)


def test_what_a_run_left_whose_workers_are_gone_is_cleared_away_by_the_next(memory):
    context = multiprocessing.get_context("spawn")
    ready = [context.Event(), context.Event()]
    workers = [context.Process(target=hold, args=(memory, f"run-{n}", ready[n])) for n in range(2)]
    for worker, event in zip(workers, ready, strict=True):
        worker.start()
        assert event.wait(60)
    assert equal(read(folder("run-0", "node"), KEY), part(1))
    os.kill(workers[0].pid, signal.SIGKILL)
    workers[0].join()
    other = NodeMemory("run-2", "node")
    # Its successor may be loading.
    assert equal(read(folder("run-0", "node"), KEY), part(1))
    for run in ("run-0", "run-1"):
        for path in (folder(run, "node"), *folder(run, "node").rglob("*")):
            os.utime(path, (time.time() - 200, time.time() - 200))
    other.sweep()
    assert sorted(path.name for path in folder("run-2", "node").parent.iterdir()) == ["run-1-node", "run-2-node"]
    assert equal(read(folder("run-1", "node"), KEY), part(1))
    workers[1].kill()
    workers[1].join()


def test_a_folder_of_somebody_else_is_not_used(memory, monkeypatch):
    monkeypatch.setattr(node_memory.os, "getuid", lambda: os.stat(memory).st_uid + 1)
    folder("run", "node").parent.mkdir()
    with pytest.raises(PermissionError, match="belongs to another user"):
        NodeMemory("run", "node")


def test_where_the_memory_file_system_is_small_the_temporary_folder_serves(monkeypatch):
    monkeypatch.setattr(node_memory, "_ENOUGH", 1 << 60)
    monkeypatch.setattr(node_memory.tempfile, "gettempdir", lambda: "/elsewhere")
    assert folder("run", "node").parts[:2] == ("/", "elsewhere")
