"""The output folder, anywhere fsspec reaches. What a reader may see is whole: a file appears in one step."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from model.artifacts import absolute, open_filesystem
from pipeline.claim import Claim, Lease, StorageError, locked
from pipeline.retries import patiently

__all__ = ["Storage", "StorageError"]

_INCOMING = ".incoming"


class Storage:
    """Files under one folder, by names relative to it.

    Object stores publish an upload when it is complete; on a local disk a file is written aside, under ``.incoming``,
    and moved into place. Requests that fail are repeated a few times. Instances can be sent to other processes.
    """

    def __init__(self, uri: str) -> None:
        self.uri = absolute(uri).rstrip("/") or "/"
        self._filesystem, self._root = open_filesystem(self.uri)
        self._local = isinstance(self._filesystem, LocalFileSystem)

    def __reduce__(self) -> tuple[Any, ...]:
        return Storage, (self.uri,)

    def path(self, name: str) -> str:
        """The full path or URI of a file, for people and records."""
        return f"{self.uri}/{name}"

    def exists(self, name: str) -> bool:
        return self.size(name) is not None

    def size(self, name: str) -> int | None:
        """Bytes of a file, ``None`` when it is not there. Raises ``StorageError`` when it cannot be asked for."""
        found = self._ask_to_read(name, lambda: self._filesystem.info(self._at(name)))
        return None if found is None else int(found["size"])

    def read(self, name: str) -> bytes | None:
        """Contents of a file, ``None`` when it is not there. Raises ``StorageError`` when it cannot be asked for."""
        contents = self._ask_to_read(name, lambda: self._filesystem.cat_file(self._at(name)))
        return None if contents is None else bytes(contents)

    def write(self, name: str, contents: bytes) -> None:
        """Publish ``contents`` in one step. Raises ``StorageError`` naming the file when the store does not take it."""
        if not self._local:
            self._ask_to_write(name, lambda: self._filesystem.pipe_file(self._at(name), contents))
            return
        with self._writing(name):
            part = self._part()
            part.write_bytes(contents)
            self._publish(part, name)

    def check_writable(self) -> None:
        """See, before long work, that files can be written here. Leaves none. Raises ``StorageError``."""
        name = f"{_INCOMING}/{uuid.uuid4().hex}"
        try:
            self.write(name, b"")
            self.remove(name)
        except StorageError as refused:
            raise _refused(f"output {self.uri}", "written", refused.__cause__ or refused) from refused

    def create(self, name: str, contents: bytes) -> None:
        """Publish a file that is not there yet. Raises ``FileExistsError`` when it is.

        Where a store cannot tell (fsspec's ``mode="create"``), the last of several writers wins.
        """
        try:
            self._filesystem.pipe_file(self._at(name), contents, mode="create")
        except (TypeError, NotImplementedError):
            self.write(name, contents)

    def put(self, source: Path, name: str) -> None:
        """Publish a copy of a local file in one step. Raises as ``write``."""
        if not self._local:
            self._ask_to_write(name, lambda: self._filesystem.put_file(str(source), self._at(name)))
            return
        with self._writing(name):
            part = self._part()
            shutil.copyfile(source, part)
            self._publish(part, name)

    def get(self, name: str, target: Path) -> None:
        """Copy a file here."""
        patiently(lambda: self._filesystem.get_file(self._at(name), str(target)), f"reading {self.path(name)}")

    def open(self, name: str) -> Any:
        """A file open for reading bytes, at any place in it."""
        return patiently(lambda: self._filesystem.open(self._at(name), "rb"), f"opening {self.path(name)}")

    def sizes(self, folder: str) -> dict[str, int]:
        """Every file in and below a folder: its name and its bytes. A folder that is not there holds none, nor does the
        empty object by which some consoles mark one. Raises ``StorageError`` naming the folder when it cannot be asked.
        """
        path = self.path(folder)
        try:
            found = patiently(lambda: self._filesystem.find(self._at(folder), detail=True), f"listing {path}")
        except Exception as error:  # every store has exceptions of its own
            raise _refused(path, "listed", error) from error
        root = f"{self._root.rstrip('/')}/"
        return {
            path.removeprefix(root): int(info["size"]) for path, info in sorted(found.items()) if not path.endswith("/")
        }

    def move(self, source: str, target: str) -> None:
        """Publish a whole file under another name, in one step; what had that name is replaced.

        An object store copies it and then removes the first: killed in between, both are there. Raises as ``write``.
        """
        if self._local:
            path = Path(self._at(target))
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._at(source), path)
            return
        self._ask_to_write(target, lambda: self._filesystem.cp_file(self._at(source), self._at(target)))
        self.remove(source)

    def remove(self, name: str) -> None:
        """Remove a file that may be gone already."""
        try:
            patiently(lambda: self._filesystem.rm_file(self._at(name)), f"removing {self.path(name)}")
        except FileNotFoundError:
            return

    def remove_folder(self, name: str) -> None:
        """Remove a folder and all that is in it; it may be gone already."""
        try:
            patiently(lambda: self._filesystem.rm(self._at(name), recursive=True), f"removing {self.path(name)}")
        except FileNotFoundError:
            return

    def _ask_to_read(self, name: str, ask: Callable[[], Any]) -> Any:
        try:
            return patiently(ask, f"reading {self.path(name)}")
        except FileNotFoundError:
            return None
        except Exception as error:  # every store has exceptions of its own
            raise _refused(self.path(name), "read", error) from error

    def _ask_to_write(self, name: str, ask: Callable[[], Any]) -> None:
        try:
            patiently(ask, f"writing {self.path(name)}")
        except Exception as error:  # every store has exceptions of its own
            raise _refused(self.path(name), "written", error) from error

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _refused(self.path(name), "written", error) from error

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
    def claimed(self) -> Iterator[Claim]:
        """Hold the folder for one run: make it, see that it can be written, clear what a killed run left half-written.

        A second run at the same time is refused, and told who holds the folder; the claim of a dead process is free
        (``claim.py`` says how that is known). Raises ``StorageError``.
        """
        if not self._local:
            with ExitStack() as stack:
                try:
                    claim = stack.enter_context(Lease(self).held())
                except StorageError:
                    raise
                except Exception as error:  # every store has exceptions of its own
                    raise StorageError(
                        f"output {self.uri} cannot be written ({type(error).__name__}: {error})"
                    ) from error
                yield claim
            return
        try:
            Path(self._root).mkdir(parents=True, exist_ok=True)
            lock = (Path(self._root) / ".lock").open("a+")
        except OSError as error:
            raise StorageError(f"output {self.uri} cannot be written ({error.strerror})") from error
        with lock, locked(lock, self.uri) as claim:
            shutil.rmtree(Path(self._root) / _INCOMING, ignore_errors=True)
            try:
                yield claim
            finally:
                shutil.rmtree(Path(self._root) / _INCOMING, ignore_errors=True)


def _refused(what: str, done: str, error: BaseException) -> StorageError:
    return StorageError(f"{what} cannot be {done} ({type(error).__name__}: {error})")
