"""Pose-table files of many videos, anywhere fsspec reaches: read in order, a batch of rows at a time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.artifacts import ArtifactError, open_filesystem, version_of
from model.keypoints import NUM_KEYPOINTS
from pipeline.pose_files import read_contents
from pipeline.pose_table import KEY, SCHEMA, PoseTableError, PoseTableOutage, check_columns, check_filled, fixed_lists
from pipeline.retries import is_final, patiently

BATCH_ROWS = 1024
"""Rows in memory at once: 1.6 MB of keypoints and scores."""

_READ_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class PoseRows:
    """N rows of one video, in the order of the table: one a frame and person.

    ``frame`` (N,) int64; ``pts_s`` (N,) float64; ``person`` (N,) int64; ``boxes`` (N, 4), ``keypoints`` (N, 133, 2)
    float32 pixels of a ``width`` x ``height`` picture; ``scores`` (N, 133) float32.
    """

    frame: np.ndarray
    pts_s: np.ndarray
    person: np.ndarray
    boxes: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray
    width: int
    height: int
    uri: str

    def __getitem__(self, rows: np.ndarray) -> PoseRows:
        """Some of the rows, by mask or by number."""
        chosen: dict[str, Any] = {name: getattr(self, name)[rows] for name in _ARRAYS}
        return replace(self, **chosen)


_ARRAYS = ("frame", "pts_s", "person", "boxes", "keypoints", "scores")


def join_rows(first: PoseRows, second: PoseRows) -> PoseRows:
    """Rows of one video, one after the other."""
    joined: dict[str, Any] = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in _ARRAYS}
    return replace(second, **joined)


class PoseFile:
    """One open pose-table file. Its errors are ``PoseTableError`` and name it."""

    def __init__(self, name: str, file: Any) -> None:
        self.name = name
        with self._explained():
            # A buffered stream: a row group's column is never in memory whole.
            self._parquet = pq.ParquetFile(file, buffer_size=_READ_BYTES, pre_buffer=False)
        check_columns(self._parquet.schema_arrow, name)

    @property
    def num_rows(self) -> int:
        return int(self._parquet.metadata.num_rows)

    @property
    def row_groups(self) -> list[int]:
        """The rows in each row group."""
        metadata = self._parquet.metadata
        return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]

    @property
    def facts(self) -> dict[str, Any]:
        """What the file's metadata says of estimator and sampling; empty where it says nothing."""
        try:
            facts = json.loads((self._parquet.schema_arrow.metadata or {}).get(KEY, b"{}"))
        except ValueError:
            return {}
        return facts if isinstance(facts, dict) else {}

    @property
    def fingerprints(self) -> dict[str, str]:
        """What each video in the file was made from and with, as the file's metadata says; empty where it does not."""
        return {video_id: row["fingerprint"] for video_id, row in self.contents(["fingerprint"]).items()}

    def contents(self, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        """``columns`` of each video in the file, by id, as the file's metadata says; empty where it does not."""
        wanted = ["video_id", *columns]
        try:
            rows = read_contents(self._parquet.metadata.metadata or {}, wanted).select(wanted).to_pylist()
        except (KeyError, ValueError, OSError, pa.ArrowException):
            return {}
        return {row["video_id"]: row for row in rows}

    def batches(self, row_groups: Iterable[int] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows, or those of some row groups, in order."""
        with self._explained():
            yield from self._parquet.iter_batches(BATCH_ROWS, row_groups=row_groups, columns=SCHEMA.names)

    def videos(self) -> Iterator[tuple[str, Iterator[pa.RecordBatch]]]:
        """Each video's id and its rows, video by video. Rows that are not asked for are passed over.

        Raises ``PoseTableError`` when the file is not sorted by video, or where it cannot be read on.
        """
        last, done = "", 0

        def pieces_in_order() -> Iterator[tuple[str, pa.RecordBatch]]:
            nonlocal done
            for batch in self.batches():
                yield from self._by_video(batch)
                done += batch.num_rows

        for video_id, pieces in itertools.groupby(pieces_in_order(), key=lambda piece: piece[0]):
            if video_id < last:
                raise PoseTableError(f"{self.name}: not sorted by video_id, {video_id!r} comes after {last!r}")
            last = video_id
            yield video_id, (batch for _, batch in pieces)
        # An error in the middle of a video is raised to whoever reads its rows; the others must not look empty.
        if done < self.num_rows:
            raise PoseTableError(f"{self.name}: could be read only to row {done} of {self.num_rows}")

    def video(self, video_id: str) -> Iterator[pa.RecordBatch]:
        """One video's rows. Row groups whose statistics exclude it are not read."""
        for batch in self.batches(row_groups_with(self._parquet.metadata, "video_id", video_id)):
            for found, piece in self._by_video(batch):
                if found == video_id:
                    yield piece

    def rows(self, batch: pa.RecordBatch) -> PoseRows:
        """A batch of one video's rows as arrays. Raises ``PoseTableError`` for values that cannot be."""
        check_filled(batch, ("frame_index", "pts_s", "person_id", "width", "height"), self.name)
        return PoseRows(
            frame=batch["frame_index"].to_numpy(),
            pts_s=batch["pts_s"].to_numpy(),
            person=batch["person_id"].to_numpy().astype(np.int64),
            boxes=fixed_lists(batch, "bbox", self.name),
            keypoints=fixed_lists(batch, "keypoints", self.name).reshape(-1, NUM_KEYPOINTS, 2),
            scores=fixed_lists(batch, "scores", self.name),
            width=batch["width"][0].as_py(),
            height=batch["height"][0].as_py(),
            uri=batch["uri"][0].as_py() or "",
        )

    def _by_video(self, batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        if batch["video_id"].null_count:
            raise PoseTableError(f"{self.name}: column video_id has an empty cell")
        ids = batch["video_id"].to_numpy(zero_copy_only=False)
        starts = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1).tolist()]
        for start, stop in itertools.pairwise([*starts, len(ids)]):
            yield ids[start], batch.slice(start, stop - start)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except PoseTableError:
            raise
        except Exception as error:  # every store has exceptions of its own
            raise PoseTableError(f"{self.name}: cannot be read as parquet ({type(error).__name__}: {error})") from error


@contextmanager
def open_pose_file(uri: str) -> Iterator[PoseFile]:
    """A pose-table file for reading. Raises ``PoseTableError`` when it is not there or is none."""
    with open_parquet(uri) as file:
        yield PoseFile(uri, file)


@contextmanager
def open_parquet(uri: str) -> Iterator[Any]:
    """A file of a table for reading at any place. Raises ``PoseTableError`` when it is not there, ``PoseTableOutage``
    when its store does not answer, then or while it is read.
    """
    with _asked_for(uri):
        filesystem, path = open_filesystem(uri)
        file = patiently(lambda: filesystem.open(path, "rb"), f"opening {uri}")
    with file:
        yield _StoredFile(uri, file)


class _StoredFile:
    """A table's file, which tells what its store says while it is read from what is wrong with its contents."""

    def __init__(self, uri: str, file: Any) -> None:
        self._uri, self._file = uri, file

    def read(self, nbytes: int = -1) -> bytes:
        with _asked_for(self._uri, "read"):
            return bytes(self._file.read(nbytes))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def parquet_version(uri: str) -> str:
    """What its store says of a table's file, which changes when that does. Raises as ``open_parquet``."""
    with _asked_for(uri):
        filesystem, path = open_filesystem(uri)
        return version_of(patiently(lambda: filesystem.info(path), f"asking for {uri}"))


@contextmanager
def _asked_for(uri: str, what: str = "opened") -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise PoseTableError(f"{uri}: no such file") from error
    except (ArtifactError, PoseTableError):
        raise
    except Exception as error:  # every store has exceptions of its own
        kind = PoseTableError if is_final(error) else PoseTableOutage
        raise kind(f"{uri}: cannot be {what} ({type(error).__name__}: {error})") from error


def row_groups_with(metadata: pq.FileMetaData, column: str, value: str) -> list[int]:
    """The row groups whose statistics do not exclude that ``column`` holds ``value``."""
    index = metadata.schema.names.index(column)
    chunks = (metadata.row_group(number).column(index) for number in range(metadata.num_row_groups))
    return [number for number, chunk in enumerate(chunks) if _may_hold(chunk.statistics, value)]


def _may_hold(statistics: pq.Statistics | None, value: str) -> bool:
    return statistics is None or not statistics.has_min_max or statistics.min <= value <= statistics.max
