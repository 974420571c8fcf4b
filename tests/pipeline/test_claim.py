"""One run at a time on an output, on disks and in object stores, and nobody waits for the dead."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest

from pipeline import claim
from pipeline.claim import LEASE, Holder
from pipeline.storage import Storage, StorageError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"BEAT_S": 0.1, "EXPIRY_S": 0.6, "_SETTLE_S": 0.05}.items():
        monkeypatch.setattr(claim, name, seconds)


@pytest.fixture
def store(tmp_path: Path) -> Storage:
    return Storage(f"memory://{tmp_path.name}/out")


def left_by(storage: Storage, **changes: object) -> None:
    """A lease as a run leaves it that can no longer give it back."""
    facts = dataclasses.asdict(Holder.this_process()) | {"token": "t", "beat": 1} | changes
    storage.write(LEASE, json.dumps(facts).encode())


def test_the_second_run_in_a_store_is_told_who_holds_it_and_it_is_free_afterwards(store):
    with store.claimed():
        with pytest.raises(StorageError, match=rf"in use by process {os.getpid()} on \S+ since 20\d\d-") as refusal:
            with Storage(store.uri).claimed():
                pass
        assert "wait for it" in str(refusal.value)
    assert not store.exists(LEASE)
    with store.claimed():
        pass


def test_a_dead_process_of_this_machine_is_not_waited_for(store, monkeypatch):
    monkeypatch.setattr(claim, "EXPIRY_S", 60)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left_by(store, pid=gone.pid)
    with store.claimed():
        pass
    left_by(store, started="1")  # the number lives, as another process
    with store.claimed():
        pass


def test_a_run_of_another_machine_is_dead_when_its_lease_stands_still(store):
    left_by(store, machine="another", host="far-away")
    begun = time.monotonic()
    with store.claimed():
        assert time.monotonic() - begun >= 0.6
        assert Holder.parse(store.read(LEASE)).pid == os.getpid()


def test_a_run_of_another_machine_that_renews_its_lease_is_alive(store):
    left_by(store, machine="another", host="far-away", pid=7)
    beats = iter(range(2, 100))

    def read(name: str, real=store.read) -> bytes | None:
        left_by(store, machine="another", host="far-away", pid=7, beat=next(beats))
        return real(name)

    store.read = read
    with pytest.raises(StorageError, match="in use by process 7 on far-away"), store.claimed():
        pass


def test_a_lease_is_renewed_while_it_is_held(store):
    with store.claimed() as held:
        first, deadline = store.read(LEASE), time.monotonic() + 30
        while store.read(LEASE) == first:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        held.check()


def test_a_run_whose_lease_was_taken_over_is_told_before_it_changes_anything(store):
    with store.claimed() as held:
        left_by(store, pid=7, host="far-away")
        deadline = time.monotonic() + 30
        with pytest.raises(StorageError, match="was taken over by process 7 on far-away"):
            while time.monotonic() < deadline:
                held.check()
                time.sleep(0.05)
    assert json.loads(store.read(LEASE))["pid"] == 7, "another's lease is left alone"


def test_a_local_claim_dies_with_its_process(tmp_path):
    code = f"""
import os, signal
from pipeline.storage import Storage
with Storage({str(tmp_path)!r}).claimed():
    print("held", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StorageError, match=f"in use by process {holder.pid} on "), Storage(str(tmp_path)).claimed():
        pass
    holder.kill()
    holder.wait()
    with Storage(str(tmp_path)).claimed():
        pass


def test_a_store_that_cannot_be_written_says_so(monkeypatch):
    storage = Storage("memory://nowhere/out")

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError("denied")

    monkeypatch.setattr(fsspec.filesystem("memory"), "pipe_file", refuse)
    with pytest.raises(StorageError, match=r"cannot be written .*denied"), storage.claimed():
        pass
