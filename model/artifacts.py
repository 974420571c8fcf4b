"""Files from anywhere fsspec reaches (local, ``s3://``, ``gs://``, ``hf://``, ...) as local files, known by digest."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
from fsspec.dircache import DirCache
from fsspec.implementations.local import LocalFileSystem

log = logging.getLogger(__name__)

_CHUNK = 1 << 22


class ArtifactError(ValueError):
    """A file that cannot be had, with the URI, the reason and the mend."""


def cache_root() -> Path:
    """Where downloaded weights are kept: ``$MIMICMOTION_CACHE``, or ``~/.cache/mimicmotion``."""
    return Path(os.environ.get("MIMICMOTION_CACHE") or Path.home() / ".cache" / "mimicmotion")


def join(base: str, name: str) -> str:
    """A member of a folder given as path or URI."""
    return f"{base.rstrip('/')}/{name}"


def file_name(path: str) -> str:
    """The name of a store's file on a disk: the end of it, without what stands behind the question mark of a signed web
    address, and of no more bytes than disks take.
    """
    return Path(path.partition("?")[0]).name.encode()[-200:].decode(errors="ignore")


def open_filesystem(uri: str) -> tuple[Any, str]:
    """The fsspec file system of a URI and the path within it. It asks its store each time, and remembers no listing.

    Raises ``ArtifactError`` when its protocol is unknown or the package that speaks it is not installed.
    """
    # In a path, two colons are no chain of file systems: fsspec would read the file called what stands before them.
    if "://" not in uri and not uri.startswith("data:"):
        return LocalFileSystem(), LocalFileSystem._strip_protocol(uri)
    try:
        protocol, _, rest = uri.partition("://")
        if "::" in rest and "::" not in protocol:
            # Nor are they in a store's names, which others may have given.
            kind = fsspec.get_filesystem_class(protocol)
            filesystem, path = kind(**kind._get_kwargs_from_urls(uri)), kind._strip_protocol(uri)
        else:
            filesystem, path = fsspec.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise ArtifactError(f"{uri}: {error} (pip install 'mimicmotion-pipeline[s3]' or '[gcs]')") from error
    # Other processes write what this one reads. Some file systems keep their listings in a dictionary, not a DirCache.
    if isinstance(cache := getattr(filesystem, "dircache", None), DirCache):
        cache.use_listings_cache = False
    return filesystem, path


def is_local(uri: str) -> bool:
    """Whether a path or URI names something on this machine's own disks."""
    return isinstance(open_filesystem(uri)[0], LocalFileSystem)


def absolute(uri: str) -> str:
    """A local path made absolute, so that processes elsewhere mean the same file; any other URI as it is."""
    filesystem, path = open_filesystem(uri)
    return str(path) if isinstance(filesystem, LocalFileSystem) else uri


def sha256(path: Path) -> str:
    """Hex digest of a file's contents."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def exists(uri: str) -> bool:
    """Whether there is a file at ``uri``."""
    filesystem, path = open_filesystem(uri)
    return bool(filesystem.isfile(path))


def version_of(info: Mapping[str, Any]) -> str:
    """What a store says of a file (fsspec's ``info``), as a short text that changes when the file does."""
    known = ("size", "ETag", "etag", "generation", "blob_id", "mtime", "LastModified", "last_modified", "created")
    of_http = ("Last-Modified", "Content-MD5", "Digest")
    facts = [f"{name}={info[name]}" for name in (*known, *of_http) if info.get(name) is not None]
    return hashlib.sha256(" ".join(facts).encode()).hexdigest()[:32]


def fetch(uri: str, expected_sha256: str | None = None) -> Path:
    """A local path with the contents of ``uri``.

    A local file is used where it lies. A remote one is downloaded once into the cache, under the digest of its
    contents, and found again as long as the store says that it has not changed. Raises ``ArtifactError`` naming the
    URI when it is missing, cannot be read, or has another digest than expected.
    """
    filesystem, path = open_filesystem(uri)
    if isinstance(filesystem, LocalFileSystem):
        local = Path(path)
        if not local.is_file():
            raise ArtifactError(f"{uri}: no such file")
    else:
        local = _fetch_remote(uri, filesystem, path)
    if expected_sha256 is not None and (found := sha256(local)) != expected_sha256:
        raise ArtifactError(f"{uri}: SHA-256 is {found}, expected {expected_sha256}")
    return local


def _fetch_remote(uri: str, filesystem: Any, path: str) -> Path:
    try:
        info = filesystem.info(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"{uri}: no such file") from error
    except Exception as error:  # every store has exceptions of its own
        raise ArtifactError(f"{uri}: cannot be reached ({type(error).__name__}: {error})") from error
    index = cache_root() / "uris" / f"{hashlib.sha256(f'{uri} {version_of(info)}'.encode()).hexdigest()}.json"
    if index.is_file():
        cached = cache_root() / "objects" / json.loads(index.read_text())["sha256"] / file_name(path)
        if cached.is_file() and cached.stat().st_size == info.get("size"):
            return cached
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=_made(cache_root())) as scratch:
        part = Path(scratch) / file_name(path)
        log.info("fetching %s (%s bytes)", uri, f"{info.get('size') or 0:,}")
        try:
            filesystem.get_file(path, str(part))
        except Exception as error:
            raise ArtifactError(f"{uri}: download failed ({type(error).__name__}: {error})") from error
        digest = sha256(part)
        cached = _made(cache_root() / "objects" / digest) / part.name
        os.replace(part, cached)
        entry = Path(scratch) / "entry.json"
        entry.write_text(json.dumps({"uri": uri, "sha256": digest}))
        _made(index.parent)
        shutil.move(entry, index)
    return cached


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
