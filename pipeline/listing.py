"""Which videos there are: in a folder, under a prefix, matching a glob, named by a catalog, or just one."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from model.artifacts import ArtifactError, absolute, open_filesystem, version_of
from pipeline.catalog_file import FORMATS, RowError, is_text, read_rows, resolve
from pipeline.inputs import InputError, InputMissing, InputRefused, check_size, info_at
from pipeline.progress_line import counted
from pipeline.quarantine import Quarantined
from pipeline.retries import patiently
from pipeline.threads import attempt

COLUMNS = ("uri", "video", "driving")
"""Of a catalog: the first of these that it has names the videos."""

# What lies beside videos under names that say so. Everything else is looked into: a name proves nothing.
_TEXTS = {"txt", "md", "json", "jsonl", "ndjson", "csv", "tsv", "parquet", "yaml", "yml", "xml", "nfo", "srt", "vtt"}
_PICTURES = {"jpg", "jpeg", "png", "webp", "bmp", "npy", "npz"}


class ListingError(ValueError):
    """A request for videos that names none."""


@dataclass(frozen=True)
class Video:
    """A listed file. ``line`` is its place, from 1; ``row`` its catalog row.

    ``version`` is what its store says of it. Where the store did not answer, it is empty, and ``size_bytes`` 0.
    """

    uri: str
    version: str
    line: int
    row: Mapping[str, Any]
    size_bytes: int = 0

    def failed(self, error: BaseException, stage: str, attempts: int = 1) -> Quarantined:
        """The quarantine's row of this video."""
        return Quarantined.of(error, stage, self.uri, self.line, self.row, attempts)


@dataclass
class Listing:
    """The ``videos``, each URI once; rows and files that cannot be; files ``left_out`` as they are named otherwise."""

    videos: list[Video] = field(default_factory=list)
    failed: list[Quarantined] = field(default_factory=list)
    left_out: int = 0


def list_videos(videos: str, output: str | None = None) -> Listing:
    """What ``--videos`` names. No video is read.

    A catalog is a ``.csv``, ``.jsonl`` or ``.parquet`` file whose column ``uri``, ``video`` or ``driving`` names the
    videos; relative paths are relative to it. A folder is searched with all below it; hidden files, folders that begin
    with ``.`` or ``_``, such files as are named like pictures, texts or tables, and an ``output`` in it are left out. A
    URI that is neither file nor folder is a glob if it has one's characters, else a prefix of names.

    Raises ``ListingError`` when nothing is there, ``CatalogError`` for a catalog that cannot be used.
    """
    named_as_catalog = videos.rpartition(".")[2].lower() in FORMATS
    if named_as_catalog and not _is_glob(videos):
        return _of_catalog(videos)
    filesystem, path = open_filesystem(videos)
    filesystem.invalidate_cache()
    try:
        found, chosen, closed = patiently(lambda: _find(filesystem, path), f"listing {videos}")
    except Exception as error:  # every store has exceptions of its own
        raise ListingError(f"videos {videos} cannot be listed ({type(error).__name__}: {error})") from error
    # What an object store's console makes of a folder is an empty object with a name that no file has.
    found = {name: info for name, info in found.items() if not name.endswith("/")}
    if not found:
        if closed:
            raise ListingError(f"videos {videos}: folder {closed[0]} cannot be listed (permission denied)")
        raise ListingError(f"videos {videos}: there is no such file, folder or prefix, or nothing in it")
    if named_as_catalog and list(found) == [path]:
        return _of_catalog(videos)
    local = isinstance(filesystem, LocalFileSystem)
    # Pages and overlays of an inspection are no videos to be done.
    own = _inside(output, path) if output else None
    listing = Listing()
    for line, name in enumerate(sorted(closed), start=1):
        refused = InputError(f"folder {_shown(name)} cannot be listed (permission denied); its videos are not done")
        listing.failed.append(_failed(refused, _shown(name), line, {"uri": _shown(name)}))
    for name, info in sorted(found.items()):
        if not chosen and (_is_sidecar(name, path) or (own and name.startswith(own))):
            listing.left_out += 1
            continue
        uri = name if local else str(filesystem.unstrip_protocol(name))
        line = len(listing.videos) + len(listing.failed) + 1
        _take(listing, uri, line, info)
    return listing


def _find(filesystem: Any, path: str) -> tuple[dict[str, Any], bool, list[str]]:
    """Files by name, whether each was chosen by its name, and folders that cannot be looked into."""
    # What has just that name comes first: names of videos have brackets and question marks in them too.
    if filesystem.isfile(path):
        return {path: filesystem.info(path)}, True, []
    if filesystem.isdir(path):
        found, closed = _below(filesystem, path)
        return found, False, [folder for folder in closed if not _is_hidden(f"{folder}/", path)]
    if _is_glob(path):
        matches = {name: _target(filesystem, name, info) for name, info in filesystem.glob(path, detail=True).items()}
        return {name: info for name, info in matches.items() if info["type"] != "directory"}, True, []
    parent = path.rpartition("/")[0]
    if not parent or not filesystem.isdir(parent):
        return {}, False, []
    found, closed = _below(filesystem, parent)
    return (
        {name: info for name, info in found.items() if name.startswith(path)},
        False,
        [folder for folder in closed if folder.startswith(path)],
    )


def _below(filesystem: Any, folder: str) -> tuple[dict[str, Any], list[str]]:
    """All files in a folder and below it, also of folders elsewhere that links lead to, each of those once; and the
    folders that cannot be looked into.
    """
    if not isinstance(filesystem, LocalFileSystem):
        return dict(filesystem.find(folder, detail=True)), []
    found: dict[str, Any] = {}
    closed: list[str] = []
    searched: tuple[str, ...] = ()
    waiting = [folder]
    while waiting:
        place = waiting.pop(0)
        real = os.path.realpath(place)
        for name, info in filesystem.find(place, detail=True, withdirs=True).items():
            # Else a link to what it lies in would be followed for ever.
            if (real + name[len(place.rstrip("/")) :]).startswith(searched):
                continue
            # fsspec passes over what it may not list.
            if info["type"] == "directory" and not os.access(name, os.R_OK | os.X_OK):
                closed.append(name)
            linked = info.get("islink") and name != place
            info = _target(filesystem, name, info)
            if info["type"] != "directory":
                found[name] = info
            elif linked:
                waiting.append(name)
        searched += (real.rstrip("/") + "/",)
    return found, closed


def _target(filesystem: Any, name: str, info: dict[str, Any]) -> dict[str, Any]:
    """Of what a link leads to. On a local disk it is listed as it is; asked for by name, as that."""
    if not info.get("islink"):
        return info
    try:
        return dict(filesystem.info(name))
    except OSError:  # also of one that leads to itself
        return {**info, "type": "link to nothing"}


def _inside(output: str, folder: str) -> str | None:
    """What the names of an output's files begin with, where it is in the folder and not the folder itself."""
    own, all_of_it = (f"{path.rstrip('/')}/" for path in (open_filesystem(output)[1], folder))
    return own if own.startswith(all_of_it) and own != all_of_it else None


def _is_glob(text: str) -> bool:
    return any(character in text for character in "*?[")


def _is_sidecar(name: str, folder: str) -> bool:
    return _is_hidden(name, folder) or posixpath.splitext(name)[1].lower().lstrip(".") in _TEXTS | _PICTURES


def _is_hidden(name: str, folder: str) -> bool:
    # The first of these is the end of what was asked for. A folder's "_" says that it is a job's own; a video's may be
    # the first letter of its id.
    _, *inside = name.removeprefix(folder.rstrip("/")).split("/")
    return any(part.startswith(".") for part in inside) or any(part.startswith("_") for part in inside[:-1])


def _take(listing: Listing, uri: str, line: int, info: Mapping[str, Any]) -> None:
    row = {"uri": _shown(uri)}
    try:
        _check_name(uri)
        check_size(uri, "video", info)
        listing.videos.append(Video(uri, version_of(info), line, row, int(info["size"])))
    except InputError as error:
        listing.failed.append(_failed(error, _shown(uri), line, row))


def _check_name(uri: str) -> None:
    if (shown := _shown(uri)) != uri:
        raise InputRefused(f"video {shown}: its path is not UTF-8, which tables need; rename it")


def _shown(uri: str) -> str:
    # A disk's names are bytes. Those that are no UTF-8 are read as characters that neither tables nor hashes take.
    return uri.encode("utf-8", "backslashreplace").decode()


def _failed(error: Exception, uri: str, line: int, row: Mapping[str, Any]) -> Quarantined:
    # What was seen and refused is a fact about the file; that it could not be asked about is none.
    return Quarantined.of(error, "check" if isinstance(error, InputRefused) else "list", uri, line, row)


def _of_catalog(catalog: str) -> Listing:
    rows, columns = read_rows(catalog)
    column = next((name for name in COLUMNS if name in columns), None)
    if column is None:
        raise ListingError(
            f"catalog {catalog} has no column {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}; "
            f"it has {', '.join(columns) or 'none'}"
        )
    listing = Listing()
    named: dict[str, tuple[int, Mapping[str, Any]]] = {}
    for line, row in enumerate(rows, start=1):
        try:
            if isinstance(row, RowError):
                raise row
            if not is_text(row, column):
                raise RowError(f"row {line}: {column} is {row.get(column)!r}, expected text")
            uri = absolute(resolve(row[column].strip(), catalog))
            _check_name(uri)
            # Of rows with one video, the first counts: there is nothing that a second could change. As a quarantine
            # always has a column uri, which is then the one that counts, its rows have a uri too.
            named.setdefault(uri, (line, {**row, column: uri, "uri": uri}))
        except ValueError as error:
            raw: Mapping[str, Any] = {} if isinstance(row, RowError) else {**row, "uri": row.get(column)}
            listing.failed.append(Quarantined.of(error, "list", str(raw.get(column) or ""), line, raw))
    # Where a store does not answer now, a worker will ask again, and wait as long as that takes.
    infos = counted(lambda uri: attempt(lambda: info_at(uri, "video", patient=False)), list(named), "videos looked up")
    for (uri, (line, named_row)), info in zip(named.items(), infos, strict=True):
        if isinstance(info, (InputRefused, InputMissing, ArtifactError)):
            listing.failed.append(_failed(info, uri, line, named_row))
        elif isinstance(info, Exception):
            listing.videos.append(Video(uri, "", line, named_row))
        else:
            listing.videos.append(Video(uri, version_of(info), line, named_row, int(info["size"])))
    return listing
