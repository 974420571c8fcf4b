"""Poses as parquet: one row per frame and person, readable by anything (columns: see ``SCHEMA``)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.keypoints import NUM_KEYPOINTS, PersonPose

VERSION = 1

SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("frame_index", pa.int64()),
        ("pts_s", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("person_id", pa.int32()),
        ("bbox", pa.list_(pa.float32(), 4)),
        ("bbox_score", pa.float32()),
        ("keypoints", pa.list_(pa.float32(), NUM_KEYPOINTS * 2)),
        ("scores", pa.list_(pa.float32(), NUM_KEYPOINTS)),
    ]
)

KEY = b"mimicmotion"
"""Of the file metadata that says what a table holds."""

MOST_ROWS = 2_000_000
"""Of a table that is read as a whole: 3 GB, the frames of a person in 18 hours at 30 a second."""


class PoseTableError(ValueError):
    """A file that is not a pose table, with the reason."""


class PoseTableOutage(PoseTableError):
    """A table whose store does not answer: it may when it is asked again, later."""


@dataclass(frozen=True, eq=False)
class VideoPoses:
    """Everybody in every frame of one video. ``fps`` is the sampling; ``people[t]`` may be empty."""

    video_id: str
    uri: str
    fps: float
    width: int
    height: int
    pts_s: Sequence[float]
    people: Sequence[list[PersonPose]]


def write_pose_table(path: Path, poses: VideoPoses, estimator: Mapping[str, Any]) -> None:
    """Write a table. The file's metadata says what frames there were, since a frame with nobody has no row."""
    facts = {
        "schema_version": VERSION,
        "estimator": dict(estimator),
        "sampling": {"fps": poses.fps, "frames": len(poses.people), "pts_s": list(poses.pts_s)},
        "video": {"id": poses.video_id, "uri": poses.uri, "width": poses.width, "height": poses.height},
    }
    schema = SCHEMA.with_metadata({KEY: json.dumps(facts).encode()})
    frames = list(zip(range(len(poses.people)), poses.pts_s, poses.people, strict=True))
    rows = pose_rows(poses.video_id, poses.uri, poses.width, poses.height, frames)
    pq.write_table(rows.replace_schema_metadata(schema.metadata), path, compression="zstd")


def pose_rows(
    video_id: str, uri: str, width: int, height: int, frames: Sequence[tuple[int, float, Sequence[PersonPose]]]
) -> pa.Table:
    """The rows of some frames of a video: ``frames`` are their indices, times in seconds, and who is in them."""
    seen = [(index, pts_s, person) for index, pts_s, people in frames for person in people]
    count = len(seen)

    def lists(values: Sequence[np.ndarray], length: int) -> pa.Array:
        flat = np.concatenate([value.ravel() for value in values]) if values else np.zeros(0)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), length)

    columns = {
        "video_id": pa.repeat(pa.scalar(video_id), count),
        "uri": pa.repeat(pa.scalar(uri), count),
        "frame_index": [index for index, _, _ in seen],
        "pts_s": [pts_s for _, pts_s, _ in seen],
        "width": pa.repeat(pa.scalar(width, pa.int32()), count),
        "height": pa.repeat(pa.scalar(height, pa.int32()), count),
        "person_id": [person.person_id for _, _, person in seen],
        "bbox": lists([person.box for _, _, person in seen], 4),
        "bbox_score": [person.box_score for _, _, person in seen],
        "keypoints": lists([person.keypoints for _, _, person in seen], NUM_KEYPOINTS * 2),
        "scores": lists([person.scores for _, _, person in seen], NUM_KEYPOINTS),
    }
    return pa.table({name: columns[name] for name in SCHEMA.names}, SCHEMA)


def read_pose_table(path: Path) -> VideoPoses:
    """The poses of a table of one video.

    Raises ``PoseTableError`` when the file is no pose table, is of another version, or holds several videos, more rows
    than fit into memory, or values that cannot be.
    """
    try:
        with pq.ParquetFile(path) as file:
            facts = _facts(file.metadata.metadata or {}, path.name)
            check_columns(file.schema_arrow, path.name)
            if file.metadata.num_rows > MOST_ROWS:
                raise PoseTableError(
                    f"{path.name}: {file.metadata.num_rows:,} rows, more than the {MOST_ROWS:,} of a table of one video"
                )
            table = file.read(columns=SCHEMA.names)
    except (pa.ArrowException, OSError) as error:
        raise PoseTableError(f"{path.name}: not a parquet file ({error})") from error
    people: list[list[PersonPose]] = [[] for _ in facts["pts_s"]]
    keypoints = fixed_lists(table, "keypoints", path.name).reshape(-1, NUM_KEYPOINTS, 2)
    scores = fixed_lists(table, "scores", path.name)
    boxes = fixed_lists(table, "bbox", path.name)
    check_filled(table, ("frame_index", "person_id", "bbox_score"), path.name)
    columns = (table[name].to_pylist() for name in ("frame_index", "person_id", "bbox_score"))
    for row, (frame, person, score) in enumerate(zip(*columns, strict=True)):
        if not 0 <= frame < len(people):
            raise PoseTableError(f"{path.name}: row {row} is of frame {frame}, the video has {len(people)}")
        people[frame].append(PersonPose(person, keypoints[row], scores[row], boxes[row], float(score)))
    return VideoPoses(people=people, **facts)


def _facts(metadata: Mapping[bytes, bytes], file: str) -> dict[str, Any]:
    """What a table of one video says of it: all fields of ``VideoPoses`` but the people."""
    try:
        facts = json.loads(metadata[KEY])
        version, several = facts["schema_version"], facts.get("videos")
        if version != VERSION:
            raise PoseTableError(f"{file}: pose table version {version}, expected {VERSION}")
        if several is not None:
            raise PoseTableError(f"{file}: a table of {several} videos; give a table of one, or the video")
        sampling, video = facts["sampling"], facts["video"]
        frames, fps = int(sampling["frames"]), float(sampling["fps"])
        pts_s = [float(time) for time in sampling["pts_s"]]
        width, height = int(video["width"]), int(video["height"])
        video_id, uri = str(video["id"]), str(video["uri"])
    except PoseTableError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise PoseTableError(
            f"{file}: parquet, but not a pose table: its metadata lacks something, or says what cannot be "
            f"({type(error).__name__}: {error})"
        ) from error
    if not (1 <= frames <= 10_000_000 and 0 < fps <= 1000):
        raise PoseTableError(f"{file}: {frames} frames at {fps} a second are not a video")
    if len(pts_s) != frames or not np.isfinite(pts_s).all():
        raise PoseTableError(f"{file}: {frames} frames, and times of {len(pts_s)} that are not all numbers of seconds")
    if min(width, height) < 1:
        raise PoseTableError(f"{file}: {width}x{height} is no size of a picture")
    return {"video_id": video_id, "uri": uri, "fps": fps, "width": width, "height": height, "pts_s": pts_s}


def check_columns(schema: pa.Schema, file: str) -> None:
    """Raises ``PoseTableError`` for a ``file`` in which a column is missing, or is of another kind."""
    if missing := [name for name in SCHEMA.names if schema.get_field_index(name) < 0]:
        raise PoseTableError(f"{file}: no pose table, it is without column {', '.join(missing)}")
    for field in SCHEMA:
        found = schema.field(field.name).type
        if not _alike(found, field.type):
            raise PoseTableError(f"{file}: no pose table, its column {field.name} is {found}, expected {field.type}")


def _alike(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether it can be used as it is: other tools widen numbers, and have other lists and kinds of text."""
    if pa.types.is_fixed_size_list(wanted):
        lists = pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list
        return any(kind(found) for kind in lists) and _alike(found.value_type, wanted.value_type)
    if pa.types.is_integer(wanted):
        return bool(pa.types.is_integer(found))
    if pa.types.is_floating(wanted):
        return bool(pa.types.is_floating(found))
    text = found.value_type if pa.types.is_dictionary(found) else found
    return bool(pa.types.is_string(text) or pa.types.is_large_string(text))


def check_filled(rows: pa.Table | pa.RecordBatch, columns: Sequence[str], file: str) -> None:
    """Raises ``PoseTableError`` naming the ``file`` and the column that has an empty cell."""
    for column in columns:
        if rows[column].null_count:
            raise PoseTableError(f"{file}: column {column} has an empty cell")


def fixed_lists(rows: pa.Table | pa.RecordBatch, column: str, file: str) -> np.ndarray:
    """A column of lists of one length (see ``SCHEMA``) as (rows, length) float32.

    Raises ``PoseTableError`` naming the ``file`` when a list is missing, of another length, or holds a NaN.
    """
    width = SCHEMA.field(column).type.list_size
    values = rows[column].combine_chunks() if isinstance(rows, pa.Table) else rows[column]
    flat = values.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    if len(flat) != rows.num_rows * width or not np.isfinite(flat).all():
        raise PoseTableError(f"{file}: column {column} holds a NaN or lists that are not of length {width}")
    return flat.reshape(rows.num_rows, width)
