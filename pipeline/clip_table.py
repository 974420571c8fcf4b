"""``clips.parquet``: one row a stretch of a video, those to train on and those left out (columns: see ``SCHEMA``)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.clips import ClipSettings, Stretch, Timeline, motion, stretches, timeline
from pipeline.pose_measures import PARTS, Measures
from pipeline.reference_frames import ReferenceFrames

NAME = "clips.parquet"
VERSION = 1

KEPT, LEFT_OUT = "kept", "left_out"

SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("length", pa.int32()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("start", pa.int64()),
        ("frames", pa.int64()),
        ("start_s", pa.float64()),
        ("fps", pa.float64()),
        ("person_id", pa.int32()),
        ("reference", pa.int64()),
        ("reliable_left_hand", pa.float32()),
        ("reliable_right_hand", pa.float32()),
        ("confidence_body", pa.float32()),
        ("confidence_face", pa.float32()),
        ("confidence_left_hand", pa.float32()),
        ("confidence_right_hand", pa.float32()),
        ("motion", pa.float32()),
    ]
)

COLUMNS = ("video_id", "uri", "fps", "frames", "cuts", "pts_s")
"""What must be known of a video besides its poses."""

# Rows wait in small tables, some 700 bytes each.
_ROWS_A_GROUP = 25_000


def clip_rows(video: dict[str, Any], measures: Measures, settings: ClipSettings) -> Iterator[dict[str, Any]]:
    """The rows of one video: for each length all of its frames, in order of time.

    ``video`` has ``COLUMNS`` of ``videos.parquet``. Raises ``ValueError`` when it does not fit the poses.
    """
    if missing := [name for name in COLUMNS if video[name] is None]:
        raise ValueError(f"{video['uri']}: its row in videos.parquet has no {', '.join(missing)}")
    if len(video["pts_s"]) != video["frames"]:
        raise ValueError(f"{video['uri']}: {video['frames']} frames, but the times of {len(video['pts_s'])}")
    line = timeline(measures, video["frames"], video["cuts"], settings)
    references = ReferenceFrames(line)
    for length in settings.length:
        for stretch in stretches(line, length, settings):
            yield {
                "video_id": video["video_id"],
                "uri": video["uri"],
                "length": length,
                "status": LEFT_OUT if stretch.reason else KEPT,
                "reason": stretch.reason,
                "start": stretch.start,
                "frames": stretch.stop - stretch.start,
                "start_s": video["pts_s"][stretch.start],
                "fps": video["fps"],
                "reference": None if stretch.reason else references.of(stretch),
                **_seen(line, stretch),
            }


def _seen(line: Timeline, stretch: Stretch) -> dict[str, Any]:
    """The person of a stretch and how well they are seen; nothing where nobody is, or several are."""
    rows = line.row[stretch.start : stretch.stop]
    if (rows < 0).any():
        return {}
    confidence = line.measures.confidence[rows].mean(axis=0, dtype=np.float64)
    left, right = line.measures.reliable[rows].mean(axis=0)
    means = {f"confidence_{part}": float(value) for part, value in zip(PARTS, confidence, strict=True)}
    return {
        "person_id": int(line.person[stretch.start]),
        "reliable_left_hand": float(left),
        "reliable_right_hand": float(right),
        "motion": motion(line, stretch.start, stretch.stop),
        **{name: value for name, value in means.items() if name in SCHEMA.names},
    }


class ClipWriter:
    """A table being written row by row, with memory for one row group."""

    def __init__(self, path: Path, settings: ClipSettings) -> None:
        about = {"schema_version": VERSION, "settings": dataclasses.asdict(settings)}
        schema = SCHEMA.with_metadata({b"mimicmotion": json.dumps(about).encode()})
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._schema = schema
        self._waiting: list[pa.Table] = []
        self._rows_waiting = 0

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        # As columns at once: dictionaries of so many rows would take a hundred megabytes.
        self._waiting.append(pa.Table.from_pylist(rows, self._schema))
        self._rows_waiting += len(rows)
        if self._rows_waiting >= _ROWS_A_GROUP:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.concat_tables([self._schema.empty_table(), *self._waiting]))
        self._waiting.clear()
        self._rows_waiting = 0

    def close(self) -> None:
        """Finish the file; one without any row has its columns too."""
        self._flush()
        self._writer.close()


@contextmanager
def clip_writer(path: Path, settings: ClipSettings) -> Iterator[ClipWriter]:
    """A writer that is closed when the block ends."""
    writer = ClipWriter(path, settings)
    try:
        yield writer
    finally:
        writer.close()
