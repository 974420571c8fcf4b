"""Input files: identified by the digest of their contents, brought here while they are used."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from model.artifacts import ArtifactError, open_filesystem, version_of

MAX_BYTES = {"reference": 256 << 20, "driving": 64 << 30}


class InputError(ValueError):
    """An input that cannot be read, with its URI and the reason."""


@dataclass(frozen=True)
class InputFile:
    """``version`` is what the store says of the file (size and time, or an ETag); ``sha256`` of its contents."""

    uri: str
    version: str
    sha256: str


def identify(uri: str, kind: str, known: Mapping[tuple[str, str], str]) -> InputFile:
    """The digest of a file's contents, without reading it where ``known`` has its (uri, version).

    ``kind`` is ``reference`` or ``driving``. Raises ``InputError`` when it is missing, empty, too large or unreadable.
    """
    try:
        filesystem, path = open_filesystem(uri)
        info = filesystem.info(path)
        if info["type"] != "file":
            raise InputError(f"{kind} {uri} is a {info['type']}, expected a file")
        size = int(info["size"])
        if size == 0:
            raise InputError(f"{kind} {uri} is empty (0 bytes)")
        if size > MAX_BYTES[kind]:
            raise InputError(f"{kind} {uri} has {size:,} bytes, more than the {MAX_BYTES[kind]:,} allowed")
        version = version_of(info)
        digest = known.get((uri, version))
        if digest is None:
            hasher = hashlib.sha256()
            with filesystem.open(path, "rb", cache_type="readahead") as file:
                while block := file.read(1 << 22):
                    hasher.update(block)
            digest = hasher.hexdigest()
    except FileNotFoundError as error:
        raise InputError(f"{kind} {uri}: no such file") from error
    except (InputError, ArtifactError):
        raise
    except Exception as error:  # every store has exceptions of its own
        raise InputError(f"{kind} {uri} cannot be read ({type(error).__name__}: {error})") from error
    return InputFile(uri, version, digest)


@contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """A local path with the file's contents: its own if it is local, otherwise a copy that goes when the block ends.

    Raises ``InputError`` when it cannot be fetched.
    """
    filesystem, path = open_filesystem(uri)
    if isinstance(filesystem, LocalFileSystem):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="mimicmotion-") as folder:
        target = Path(folder) / (Path(path).name or "input")
        try:
            filesystem.get_file(path, str(target))
        except Exception as error:  # every store has exceptions of its own
            raise InputError(f"{uri} cannot be fetched ({type(error).__name__}: {error})") from error
        yield target
