"""The output folder, anywhere fsspec reaches. What a reader may see is whole: a file appears in one step."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from model.artifacts import absolute, open_filesystem

_INCOMING = ".incoming"


class StorageError(ValueError):
    """An output that cannot be used, with the reason."""


class Storage:
    """Files under one folder, by names relative to it.

    Object stores publish an upload when it is complete; on a local disk a file is written aside, under ``.incoming``,
    and moved into place. Instances can be sent to other processes.
    """

    def __init__(self, uri: str) -> None:
        self.uri = absolute(uri).rstrip("/") or "/"
        self._filesystem, self._root = open_filesystem(self.uri)
        self._local = isinstance(self._filesystem, LocalFileSystem)
        if not self._local:
            self._filesystem.use_listings_cache = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Storage, (self.uri,)

    def path(self, name: str) -> str:
        """The full path or URI of a file, for people and records."""
        return f"{self.uri}/{name}"

    def exists(self, name: str) -> bool:
        return bool(self._filesystem.exists(self._at(name)))

    def size(self, name: str) -> int | None:
        """Bytes of a file, ``None`` when it is not there."""
        try:
            return int(self._filesystem.info(self._at(name))["size"])
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes | None:
        """Contents of a file, ``None`` when it is not there."""
        try:
            return bytes(self._filesystem.cat_file(self._at(name)))
        except FileNotFoundError:
            return None

    def write(self, name: str, contents: bytes) -> None:
        """Publish ``contents`` in one step."""
        if not self._local:
            self._filesystem.pipe_file(self._at(name), contents)
            return
        part = self._part()
        part.write_bytes(contents)
        self._publish(part, name)

    def put(self, source: Path, name: str) -> None:
        """Publish a copy of a local file in one step."""
        if not self._local:
            self._filesystem.put_file(str(source), self._at(name))
            return
        part = self._part()
        shutil.copyfile(source, part)
        self._publish(part, name)

    def get(self, name: str, target: Path) -> None:
        """Copy a file here."""
        self._filesystem.get_file(self._at(name), str(target))

    def remove(self, name: str) -> None:
        """Remove a file that may be gone already."""
        try:
            self._filesystem.rm_file(self._at(name))
        except FileNotFoundError:
            return

    def remove_folder(self, name: str) -> None:
        """Remove a folder and all that is in it; it may be gone already."""
        try:
            self._filesystem.rm(self._at(name), recursive=True)
        except FileNotFoundError:
            return

    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _part(self) -> Path:
        folder = Path(self._root) / _INCOMING
        folder.mkdir(parents=True, exist_ok=True)
        return folder / uuid.uuid4().hex

    def _publish(self, part: Path, name: str) -> None:
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        target = Path(self._at(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, target)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder for one run: make it, see that it can be written, clear what a killed run left half-written.

        On a local disk a second run at the same time is refused; the kernel frees the claim of a dead process. In an
        object store nothing half-written can be left, and two runs write the same files twice. Raises
        ``StorageError``.
        """
        if not self._local:
            try:
                self.write(".writable", b"")
                self.remove(".writable")
            except Exception as error:  # every store has exceptions of its own
                raise StorageError(f"output {self.uri} cannot be written ({type(error).__name__}: {error})") from error
            yield
            return
        try:
            Path(self._root).mkdir(parents=True, exist_ok=True)
            lock = (Path(self._root) / ".lock").open("a+")
        except OSError as error:
            raise StorageError(f"output {self.uri} cannot be written ({error.strerror})") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                lock.seek(0)
                raise StorageError(
                    f"output {self.uri} is in use by process {lock.read() or '?'}; wait for it"
                ) from error
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            shutil.rmtree(Path(self._root) / _INCOMING, ignore_errors=True)
            try:
                yield
            finally:
                shutil.rmtree(Path(self._root) / _INCOMING, ignore_errors=True)
