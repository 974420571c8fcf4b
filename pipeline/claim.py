"""Who may write to an output: one run at a time.

On a local disk the kernel holds a lock for as long as the process lives. Object stores have no locks, so there the
holder keeps a lease: a small file that it rewrites every ``BEAT_S``. A lease that does not change for ``EXPIRY_S`` is
that of a dead run. Whether it changes is watched, not computed from clocks, which differ between machines.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Protocol

log = logging.getLogger(__name__)

LEASE = ".lease.json"
BEAT_S = 10.0
EXPIRY_S = 45.0
# Two runs that find the same dead lease both replace it. The later writer is the one whose lease is there after this.
_SETTLE_S = 2.0


class StorageError(ValueError):
    """An output that cannot be used, with the reason."""


class LeaseFiles(Protocol):
    """What a lease needs of the output."""

    uri: str

    def read(self, name: str) -> bytes | None: ...
    def write(self, name: str, contents: bytes) -> None: ...
    def create(self, name: str, contents: bytes) -> None: ...
    def remove(self, name: str) -> None: ...


@dataclass(frozen=True)
class Holder:
    """The process that holds an output. ``machine`` and ``started`` tell it from another of the same number."""

    host: str
    pid: int
    since: str
    machine: str
    started: str

    @staticmethod
    def this_process() -> Holder:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return Holder(socket.gethostname(), os.getpid(), since, _machine(), _started(os.getpid()))

    @staticmethod
    def parse(contents: bytes | str | None) -> Holder | None:
        """The holder that a claim names; ``None`` when there is none or it cannot be read."""
        try:
            facts = json.loads(contents or "")
            return Holder(**{field.name: facts[field.name] for field in dataclasses.fields(Holder)})
        except (ValueError, KeyError, TypeError):
            return None

    @property
    def is_local(self) -> bool:
        return bool(self.machine) and self.machine == _machine()

    @property
    def is_dead(self) -> bool:
        """Whether it is known to be gone: only of a process of this machine can that be known."""
        return self.is_local and _started(self.pid) != self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


def _machine() -> str:
    """This boot of this machine, or of this container: where a process number means one process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process of this machine began, in the kernel's ticks; empty when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _refused(uri: str, holder: Holder | None) -> StorageError:
    return StorageError(f"output {uri} is in use by {holder or 'another run'}; wait for it, or give another output")


class Claim:
    """A held output. ``check`` raises ``StorageError`` when another run has taken it."""

    def check(self) -> None:
        return


@contextmanager
def locked(file: IO[str], uri: str) -> Iterator[Claim]:
    """Hold the lock of an open local file while the block runs. Raises ``StorageError`` naming the holder."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        raise _refused(uri, Holder.parse(file.read())) from error
    except OSError as error:
        raise StorageError(f"output {uri} cannot be locked ({error.strerror}); use a disk that has locks") from error
    file.truncate(0)
    file.write(json.dumps(dataclasses.asdict(Holder.this_process())))
    file.flush()
    yield Claim()


class Lease(Claim):
    """A lease in an object store, renewed by a thread while it is held."""

    def __init__(self, files: LeaseFiles) -> None:
        self._files = files
        self._facts = {**dataclasses.asdict(Holder.this_process()), "token": uuid.uuid4().hex}
        self._beats = 0
        self._lost = False
        self._stop = threading.Event()

    @contextmanager
    def held(self) -> Iterator[Claim]:
        """Take it, keep it while the block runs, give it back. Raises ``StorageError`` naming the holder."""
        self._take()
        thread = threading.Thread(target=self._keep, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()
            if not self._lost and self._is_ours():
                self._files.remove(LEASE)

    def check(self) -> None:
        if self._lost:
            holder = Holder.parse(self._files.read(LEASE))
            raise StorageError(
                f"output {self._files.uri} was taken over by {holder or 'another run'}, since this run gave no sign of "
                f"life for {EXPIRY_S:g} s; what it finished is kept"
            )

    def _contents(self) -> bytes:
        return json.dumps({**self._facts, "beat": self._beats}).encode()

    def _is_ours(self) -> bool:
        found = self._files.read(LEASE)
        return found is not None and json.loads(found).get("token") == self._facts["token"]

    def _take(self) -> None:
        found = self._files.read(LEASE)
        if found is not None:
            self._see_dead(found)
            log.info("the run that held %s is dead (%s); taking over", self._files.uri, Holder.parse(found))
            self._files.remove(LEASE)
        try:
            self._files.create(LEASE, self._contents())
        except FileExistsError as error:
            raise _refused(self._files.uri, Holder.parse(self._files.read(LEASE))) from error
        if found is not None:
            time.sleep(_SETTLE_S)
            if not self._is_ours():
                raise _refused(self._files.uri, Holder.parse(self._files.read(LEASE)))

    def _see_dead(self, found: bytes) -> None:
        holder = Holder.parse(found)
        if holder is not None and holder.is_dead:
            return
        if holder is not None and holder.is_local:
            raise _refused(self._files.uri, holder)
        log.info("output %s is held by %s; watching for a sign of life", self._files.uri, holder)
        until = time.monotonic() + EXPIRY_S
        while time.monotonic() < until:
            time.sleep(BEAT_S / 5)
            if self._files.read(LEASE) != found:
                raise _refused(self._files.uri, holder)

    def _keep(self) -> None:
        renewed = time.monotonic()
        while not self._stop.wait(BEAT_S):
            try:
                if not self._is_ours():
                    self._lost = True
                    return
                self._beats += 1
                self._files.write(LEASE, self._contents())
                renewed = time.monotonic()
            except Exception as error:  # every store has exceptions of its own
                log.warning("the lease of %s could not be renewed (%s)", self._files.uri, error)
                if time.monotonic() - renewed > EXPIRY_S:
                    self._lost = True
                    return
