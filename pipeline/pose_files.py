"""Pose tables of many videos: parquet files that name the videos in them, written and read in little memory.

The rows are those of ``pose_table``, sorted by video, then frame. The file's metadata holds, under ``mimicmotion``, the
estimator and the sampling; and under ``mimicmotion.videos`` one row a video (``CONTENTS``) as a parquet table in
base64. So a file says itself which videos it holds, whole, with which settings: rows and that claim appear in one step.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.pose_table import KEY, SCHEMA, VERSION, PoseTableError
from pipeline.summary import SCHEMA as SUMMARY

GROUP_ROWS = 4096
"""Rows in a row group: about 6 MB, which is what a reader or writer holds at least."""

_CONTENTS_KEY = b"mimicmotion.videos"

MOST_CONTENTS_BYTES = 64 << 20
"""Of a file's contents table, in base64. Parquet's readers refuse a text of metadata with more than 100 MB."""

_OWN = [
    ("rows", pa.int64()),
    ("bytes", pa.int64()),
    ("settings", pa.string()),
    ("sources", pa.list_(pa.struct([("uri", pa.string()), ("version", pa.string())]))),
]
CONTENTS = pa.schema([*SUMMARY, *_OWN])
"""``videos.parquet``'s columns, and of each video: its ``rows`` here, the ``bytes`` of the file it was first written
to, the ``settings`` it was made with (JSON), and all ``sources`` that were seen to hold it."""


class PoseFileWriter:
    """Writes one file: rows in order with ``write``, then ``close`` with what they are. Nothing valid before that."""

    def __init__(self, target: str | IO[bytes], group_rows: int = GROUP_ROWS) -> None:
        self._writer = pq.ParquetWriter(target, SCHEMA, compression="zstd")
        self._group_rows = group_rows
        self._waiting: list[pa.Table] = []
        self._count = 0

    def write(self, rows: pa.Table) -> None:
        """More rows, of ``pose_table.SCHEMA``."""
        self._waiting.append(rows)
        self._count += rows.num_rows
        while self._count >= self._group_rows:
            self._flush(self._group_rows)

    def _flush(self, rows: int) -> None:
        waiting = pa.concat_tables(self._waiting)
        self._writer.write_table(waiting.slice(0, rows).combine_chunks(), row_group_size=rows)
        self._waiting = [waiting.slice(rows)]
        self._count -= rows

    def close(self, contents: pa.Table, facts: Mapping[str, Any]) -> None:
        """End the file. ``contents`` are its videos in order (``CONTENTS``); ``facts`` go into its metadata.

        Raises ``PoseTableError`` where nobody could read the file, for all that is said of its videos.
        """
        if self._count:
            self._flush(self._count)
        settings = [json.loads(text) for text in dict.fromkeys(contents["settings"].to_pylist())]
        # One run makes them all alike. What an earlier run with other settings made, of other videos, stays.
        shared = settings[0] if len(settings) == 1 else {"settings": settings}
        about = {"schema_version": VERSION, "videos": contents.num_rows, **shared, **facts}
        described = base64.b64encode(contents_to_bytes(contents))
        if len(described) > MOST_CONTENTS_BYTES:
            size = sum(contents["bytes"].to_pylist()) * MOST_CONTENTS_BYTES // len(described) >> 20
            raise PoseTableError(
                f"what is known of a table's {contents.num_rows} videos, the times of all their frames above all, is "
                f"{len(described) >> 20} MB of metadata, and {MOST_CONTENTS_BYTES >> 20} MB may be; run again with "
                f"--table-size {max(1, size)}"
            )
        self._writer.add_key_value_metadata({KEY: json.dumps(about).encode(), _CONTENTS_KEY: described})
        self._writer.close()


class _Place(NamedTuple):
    """Where a video is in a file: its row of the contents table, its first row of poses, and how many there are."""

    number: int
    first: int
    rows: int


class PoseFile:
    """A file that ``PoseFileWriter`` wrote, open for reading.

    Raises ``PoseTableError`` when it is none.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        try:
            self._parquet = pq.ParquetFile(file)
            metadata = self._parquet.metadata.metadata or {}
            self.facts: dict[str, Any] = json.loads(metadata[KEY])
            self.contents = read_contents(metadata)
        except (pa.ArrowException, KeyError, ValueError, OSError) as error:
            raise PoseTableError(
                f"{name} is no pose table of this job ({type(error).__name__}: {error}); remove it and run again: "
                "what it held is done anew"
            ) from error
        self._places: dict[str, _Place] = {}
        start = 0
        columns = (self.contents[name].to_pylist() for name in ("video_id", "rows"))
        for number, (video_id, rows) in enumerate(zip(*columns, strict=True)):
            self._places[video_id] = _Place(number, start, rows)
            start += rows
        sizes = [self._parquet.metadata.row_group(i).num_rows for i in range(self._parquet.num_row_groups)]
        if sum(sizes) != start:
            raise PoseTableError(f"{name} holds {sum(sizes)} rows where its metadata counts {start}")
        self._group_starts = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
        self._cached: tuple[int, pa.Table] | None = None

    def about(self, video_id: str) -> dict[str, Any]:
        """One video's row of ``contents``."""
        (row,) = self.contents.slice(self._places[video_id].number, 1).to_pylist()
        return dict(row)

    def rows(self, video_id: str) -> Iterator[pa.Table]:
        """The rows of one video, a row group's worth at a time. Neighbours in a row group read it once."""
        _, first, count = self._places[video_id]
        end = first + count
        for group, start in enumerate(self._group_starts[:-1]):
            stop = self._group_starts[group + 1]
            if start < end and stop > first:
                table = self._group(group)
                yield table.slice(max(0, first - start), min(end, stop) - max(first, start))

    def _group(self, group: int) -> pa.Table:
        if self._cached is None or self._cached[0] != group:
            self._cached = None
            table = self._parquet.read_row_group(group).replace_schema_metadata(None)
            self._cached = group, table.cast(SCHEMA)
        return self._cached[1]


def contents_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as ``CONTENTS``."""
    return pa.Table.from_pylist(list(rows), CONTENTS)


def read_contents(metadata: Mapping[bytes, bytes], columns: Sequence[str] | None = None) -> pa.Table:
    """A file's contents table, from its metadata. Raises ``KeyError`` where that has none."""
    return pq.read_table(io.BytesIO(base64.b64decode(metadata[_CONTENTS_KEY])), columns=columns)


def contents_to_bytes(contents: pa.Table) -> bytes:
    buffer = io.BytesIO()
    # Neighbouring times share their upper bytes: half a byte a frame instead of nine.
    split = {"pts_s.list.element": "BYTE_STREAM_SPLIT"}
    pq.write_table(contents, buffer, compression="zstd", use_dictionary=False, column_encoding=split)
    return buffer.getvalue()
