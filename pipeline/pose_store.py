"""Where poses are kept, and how they get before readers' eyes.

    poses/bucket-*.parquet   tables for readers: every video in exactly one of them
    videos.parquet           one row a video, made from what the tables say of themselves
    _parts/VIDEO-MARK-SOURCE.parquet   finished videos that are not in a table yet
    _parts/bucket-*          tables that are built and not yet in place
    _parts/publishing.json   there while tables are being put in place: what remains to be done

Every file appears whole, in one step. ``docs/pose-table-crash-safety.md`` goes through every point at which a run can
die. What it rests on: a table's rows and its list of videos are one file; a finished part stays until its rows are in a
table; tables that must go are removed before those that take their videos are put in place; and whoever finds
``publishing.json`` finishes what it says before anything else.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.buckets import NAME, divide
from pipeline.pose_files import PoseFile, PoseFileWriter, contents_table
from pipeline.progress_line import counted
from pipeline.scratch import scratch
from pipeline.storage import Storage, StorageError
from pipeline.summary import SCHEMA as SUMMARY
from pipeline.threads import ahead, in_threads

VIDEOS = "videos.parquet"
JOURNAL = "_parts/publishing.json"
_PART = re.compile(r"_parts/([0-9a-f]{64})-([0-9a-f]{32})-([0-9a-f]{16})\.parquet")
_TABLE = re.compile(re.escape(NAME).replace(r"\{\}", "(all|[01]+)"))

# At most, of a part that is fetched whole and while others are written: small ones are mostly waiting for the store.
_SMALL_BYTES = 1 << 20

Source = tuple[str, str]
"""A URI and the version of the file that was there."""


@dataclass(frozen=True)
class Kept:
    """A finished video: the ``file`` that has its rows, and everywhere it was found."""

    video_id: str
    fingerprint: str
    file: str
    bytes: int
    sources: tuple[Source, ...]

    @property
    def is_part(self) -> bool:
        """Whether ``file`` has this video alone, and is no table."""
        return _PART.fullmatch(self.file) is not None


@dataclass(frozen=True)
class Bucket:
    """A table to be: its name and its videos, by id."""

    name: str
    videos: tuple[Kept, ...]

    @property
    def signature(self) -> str:
        """Of what it holds: equal signatures, equal tables."""
        facts = [(video.video_id, video.fingerprint, video.sources) for video in self.videos]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]

    @property
    def staged(self) -> str:
        return f"_parts/{Path(self.name).stem}-{self.signature}.parquet"


@dataclass
class State:
    """What an output holds: ``videos`` in tables by id, finished ``parts`` by (id, fingerprint), table signatures."""

    videos: dict[str, Kept] = field(default_factory=dict)
    parts: dict[tuple[str, str], Kept] = field(default_factory=dict)
    by_source: dict[str, str] = field(default_factory=dict)
    signatures: dict[str, str] = field(default_factory=dict)

    def finished(self, video_id: str, fingerprint: str) -> Kept | None:
        """The video with these settings, in a table or not yet."""
        video = self.videos.get(video_id)
        return video if video and video.fingerprint == fingerprint else self.parts.get((video_id, fingerprint))


def source_key(source: Source) -> str:
    """A short name for a source."""
    return hashlib.sha256("\n".join(source).encode()).hexdigest()[:16]


def part_name(video_id: str, fingerprint: str, source: Source) -> str:
    return f"_parts/{video_id}-{fingerprint}-{source_key(source)}.parquet"


def read_state(storage: Storage) -> State:
    """What is there. Writes nothing. Raises ``StorageError`` for tables that are not this job's."""
    state = State()
    names = sorted(name for name in storage.sizes("poses") if not _hidden(name))
    if strange := [name for name in names if not _TABLE.fullmatch(name)]:
        raise StorageError(
            f"output {storage.uri} holds among its tables what this job did not write ({', '.join(strange[:3])}), and "
            "whoever reads the tables would read it too; move it elsewhere, or give another output"
        )

    def read(name: str) -> tuple[str, list[Kept]]:
        with storage.open(name) as file:
            table = PoseFile(file, storage.path(name))
            columns = ("video_id", "fingerprint", "bytes", "sources")
            rows = table.contents.select(columns).to_pylist()
            return str(table.facts["signature"]), [
                Kept(row["video_id"], row["fingerprint"], name, row["bytes"], _sources(row["sources"])) for row in rows
            ]

    for name, (signature, videos) in zip(names, in_threads(read, names), strict=True):
        state.signatures[name] = signature
        for video in videos:
            state.videos[video.video_id] = video
            state.by_source.update((source_key(source), video.video_id) for source in video.sources)
    for name, size in storage.sizes("_parts").items():
        if match := _PART.fullmatch(name):
            video_id, fingerprint, source = match.groups()
            state.parts[video_id, fingerprint] = Kept(video_id, fingerprint, name, size, ())
            state.by_source[source] = video_id
    return state


def _sources(rows: Iterable[Mapping[str, str]]) -> tuple[Source, ...]:
    return tuple(sorted((row["uri"], row["version"]) for row in rows))


def _hidden(name: str) -> bool:
    return Path(name).name.startswith((".", "_"))


def finish_publishing(storage: Storage) -> None:
    """Put in place what a killed run was putting in place. Does nothing where none was."""
    contents = storage.read(JOURNAL)
    if contents is None:
        return
    journal = json.loads(contents)
    for name in journal["remove"]:
        storage.remove(name)
    for staged, name in journal["move"].items():
        # One that is no longer there has been moved.
        if storage.exists(staged):
            storage.move(staged, name)
    storage.remove(JOURNAL)


def build(storage: Storage, bucket: Bucket) -> None:
    """Write a bucket's table beside the others, where no reader looks.

    Raises ``PoseTableError`` or ``KeyError`` when a file that should hold a video does not, and ``StorageError`` when a
    small part cannot be read.
    """

    def fetch(video: Kept) -> tuple[Kept, bytes | None]:
        small = video.is_part and video.bytes <= _SMALL_BYTES
        return video, storage.read(video.file) if small else None

    with (
        scratch() as folder,
        ExitStack() as tables,
        closing(ahead(fetch, bucket.videos)) as fetching,
    ):
        path = folder / "table.parquet"
        writer = PoseFileWriter(str(path))
        contents = []
        opened: dict[str, PoseFile] = {}
        for video, fetched in fetching:
            with ExitStack() as part:
                # A table has several of these videos.
                until = part if video.is_part else tables
                source = opened.get(video.file)
                if source is None:
                    stream = storage.open(video.file) if fetched is None else io.BytesIO(fetched)
                    source = PoseFile(until.enter_context(stream), storage.path(video.file))
                    if until is tables:
                        opened[video.file] = source
                uri = video.sources[0][0]
                for rows in source.rows(video.video_id):
                    column = pa.repeat(pa.scalar(uri), rows.num_rows)
                    writer.write(rows.set_column(rows.column_names.index("uri"), "uri", column))
                contents.append(
                    source.about(video.video_id)
                    | {
                        "uri": uri,
                        "table": bucket.name,
                        "bytes": video.bytes,
                        "sources": [{"uri": uri, "version": version} for uri, version in video.sources],
                    }
                )
        writer.close(contents_table(contents), {"signature": bucket.signature})
        storage.put(path, bucket.staged)


def publish(
    storage: Storage,
    state: State,
    videos: Iterable[Kept],
    table_bytes: int,
    build_all: Callable[[Storage, Sequence[Bucket]], None],
    check: Callable[[], None],
) -> int:
    """Make ``videos``, and no others, what readers see. The number of tables that were written.

    ``build_all`` is to ``build`` each bucket that it is given; ``check`` raises when the output is no longer ours.
    """
    wanted = {video.video_id: video for video in videos}
    division = divide({video_id: video.bytes for video_id, video in wanted.items()}, table_bytes)
    buckets = [Bucket(name, tuple(wanted[video_id] for video_id in ids)) for name, ids in division.items()]
    changed = [bucket for bucket in buckets if state.signatures.get(bucket.name) != bucket.signature]
    there = storage.sizes("_parts")
    build_all(storage, [bucket for bucket in changed if bucket.staged not in there])
    check()
    removed = sorted(set(state.signatures) - set(division))
    if changed or removed:
        moves = {bucket.staged: bucket.name for bucket in changed}
        storage.write(JOURNAL, json.dumps({"remove": removed, "move": moves}).encode())
        finish_publishing(storage)
    _write_videos(storage, list(division))
    return len(changed)


def clear_parts(storage: Storage, published: Iterable[str]) -> None:
    """Remove the parts of videos that are in tables now, and tables that were built for nothing."""
    ids = set(published)
    parts = {name: _PART.fullmatch(name) for name in storage.sizes("_parts") if name != JOURNAL}
    done = [name for name, match in parts.items() if match is None or match[1] in ids]
    counted(storage.remove, done, "parts that are in tables removed")


def _write_videos(storage: Storage, tables: Sequence[str]) -> None:
    with scratch() as folder:
        path = folder / VIDEOS
        with pq.ParquetWriter(path, SUMMARY, compression="zstd") as writer:
            for name in tables:
                with storage.open(name) as file:
                    contents = PoseFile(file, storage.path(name)).contents
                writer.write_table(contents.select(SUMMARY.names).cast(SUMMARY))
        storage.put(path, VIDEOS)
