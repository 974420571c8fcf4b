"""Input files: identified by the digest of their contents, brought here while they are used."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec.callbacks import Callback
from fsspec.implementations.local import LocalFileSystem

from model.artifacts import ArtifactError, file_name, open_filesystem, sha256, version_of
from pipeline.retries import is_final, is_outage, patiently
from pipeline.scratch import scratch
from pipeline.video_cache import cached_file

log = logging.getLogger(__name__)

MAX_BYTES = {"reference": 256 << 20, "driving": 64 << 30, "video": 64 << 30, "table": 64 << 30}

# Of local videos that were found to have the contents asked for: URI, version and digest.
_seen: set[tuple[str, str, str]] = set()


class InputError(ValueError):
    """An input that cannot be read, with its URI and the reason."""


class InputRefused(InputError):
    """An input that is there and will not be read: its size or its name is reason enough."""


class InputMissing(InputError):
    """An input that is not there, as its store says."""


class InputOutage(InputError):
    """An input whose store does not answer, or not as it should: it may when it is asked again, later."""


@dataclass(frozen=True)
class InputFile:
    """``version`` is what the store says of the file (size and time, or an ETag); ``sha256`` of its contents."""

    uri: str
    version: str
    sha256: str


def identify(uri: str, kind: str, known: Mapping[tuple[str, str], str]) -> InputFile:
    """The digest of a file's contents, without reading it where ``known`` has its (uri, version).

    ``kind`` is ``reference``, ``driving``, ``video`` or ``table``. Raises ``InputError`` when it is missing, empty, too
    large or unreadable, ``InputOutage`` where its store does not answer.
    """
    version = version_at(uri, kind)
    digest = known.get((uri, version))
    return InputFile(uri, version, _digest(uri, kind) if digest is None else digest)


def version_at(uri: str, kind: str) -> str:
    """A short text that changes when the file does. Raises as ``identify``, reading nothing."""
    return version_of(info_at(uri, kind))


def info_at(uri: str, kind: str, patient: bool = True) -> Mapping[str, Any]:
    """What the store says of a file now (fsspec's ``info``). Raises as ``identify``, reading nothing.

    Unless ``patient``, a store that answers with an error is not asked again.
    """
    with _reading(uri, kind):
        filesystem, path = open_filesystem(uri)
        info = patiently(lambda: filesystem.info(path), f"asking for {uri}") if patient else filesystem.info(path)
        check_size(uri, kind, info)
        return dict(info)


def check_size(uri: str, kind: str, info: Mapping[str, Any]) -> None:
    """Raises ``InputError`` unless ``info`` is of a file with something in it, and no more than is allowed."""
    if info["type"] != "file":
        raise InputError(f"{kind} {uri} is a {info['type']}, expected a file")
    if info["size"] is None:
        raise InputError(f"{kind} {uri}: its server does not say how large it is; fetch it and give the copy")
    size = int(info["size"])
    if size == 0:
        raise InputRefused(f"{kind} {uri} is empty (0 bytes)")
    if size > MAX_BYTES[kind]:
        raise InputRefused(f"{kind} {uri} has {size:,} bytes, more than the {MAX_BYTES[kind]:,} allowed")


def _digest(uri: str, kind: str) -> str:
    with _reading(uri, kind):
        filesystem, path = open_filesystem(uri)

        def read() -> str:
            hasher = hashlib.sha256()
            with filesystem.open(path, "rb", cache_type="readahead") as file:
                while block := file.read(1 << 22):
                    hasher.update(block)
            return hasher.hexdigest()

        return patiently(read, f"reading {uri}")


@contextmanager
def _reading(uri: str, kind: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if is_outage(error):
            raise InputOutage(f"{kind} {uri} cannot be read ({error.__cause__})") from error
        raise InputMissing(f"{kind} {uri}: no such file") from error
    except (InputError, ArtifactError):
        raise
    except Exception as error:  # every store has exceptions of its own
        failure = InputError if is_final(error) else InputOutage
        raise failure(f"{kind} {uri} cannot be read ({type(error).__name__}: {error})") from error


@contextmanager
def local_copy(uri: str, size: int | None = None) -> Iterator[Path]:
    """A local path with the file's contents: its own if it is local, otherwise a copy that goes when the block ends.

    Raises ``InputError`` when it cannot be fetched, or is longer than the ``size`` that its store has said (at most
    what is allowed), ``InputOutage`` where its store does not answer.
    """
    filesystem, path = open_filesystem(uri)
    if isinstance(filesystem, LocalFileSystem):
        yield Path(path)
        return
    with scratch() as folder:
        target = folder / (file_name(path) or "input")
        _fetch(uri, target, size)
        yield target


class _TooLong(Exception):
    """More has come than was said."""


class _AtMost(Callback):
    """Ends a transfer that brings more bytes: a server may go on until the disk is full."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def relative_update(self, inc: int = 1) -> None:
        super().relative_update(inc)
        if self.value > self._most:
            raise _TooLong


def _fetch(uri: str, target: Path, size: int | None = None) -> None:
    filesystem, path = open_filesystem(uri)
    most = size or max(MAX_BYTES.values())

    def fetched() -> bool:
        try:
            filesystem.get_file(path, str(target), callback=_AtMost(most))
        except _TooLong:
            return False
        return True

    try:
        whole = patiently(fetched, f"fetching {uri}")
    except Exception as error:  # every store has exceptions of its own
        if isinstance(error, FileNotFoundError) and is_final(error):
            raise InputError(f"{uri} cannot be fetched: it is no longer there") from error
        failure = InputError if is_final(error) else InputOutage
        raise failure(f"{uri} cannot be fetched ({type(error).__name__}: {error})") from error
    if not whole:
        raise InputError(f"{uri} has more than the {most:,} bytes that it was to have; run again when it is complete")


@contextmanager
def posed_video(uri: str, video_id: str) -> Iterator[Path]:
    """A local path with the very file that poses were found in, whose digest begins with ``video_id``.

    Its store is asked each time whether it is the same. One in a store is fetched into the node's cache, and read for
    its digest when it is; a local one is read for it once in a process. Raises ``InputError`` where it is another one
    now, and as ``local_copy``.
    """
    info = info_at(uri, "video")
    version = version_of(info)
    filesystem, path = open_filesystem(uri)
    if isinstance(filesystem, LocalFileSystem):
        if (seen := (uri, version, video_id)) not in _seen:
            _check_digest(uri, Path(path), video_id)
            _seen.add(seen)
        yield Path(path)
        return

    def bring(target: Path) -> None:
        _fetch(uri, target)
        _check_digest(uri, target, video_id)

    name = f"{hashlib.sha256(f'{uri} {version} {video_id}'.encode()).hexdigest()[:32]}-{file_name(path)}"
    with ExitStack() as held:
        try:
            local = held.enter_context(cached_file(name, int(info["size"]), bring))
        except OSError as error:
            _warn_once(f"videos are fetched for each use, as none can be kept on this node: {error.strerror}")
            local = held.enter_context(local_copy(uri))
            _check_digest(uri, local, video_id)
        yield local


@functools.cache
def _warn_once(message: str) -> None:
    log.warning(message)


def _check_digest(uri: str, path: Path, video_id: str) -> None:
    with _reading(uri, "video"):
        digest = sha256(path)
    if not digest.startswith(video_id):
        raise InputError(f"{uri} is no longer the file that the poses were found in")
