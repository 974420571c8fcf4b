"""What extract_poses leaves behind, made in a moment: a folder of pose tables and videos.parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.estimators.tracking import follow_person
from model.keypoints import BODY, FACE, LEFT_HAND, NUM_KEYPOINTS, RIGHT_HAND, PersonPose, hand_reliable
from pipeline.pose_files import PoseFileWriter, contents_table
from pipeline.pose_table import KEY, SCHEMA, VideoPoses
from pipeline.summary import SCHEMA as VIDEOS_SCHEMA


def somebody(person_id: int = 0, x: float = 100.0, score: float | np.ndarray = 0.9, size: float = 200.0) -> PersonPose:
    """All keypoints on a line down from (x, 20), in a box as high as ``size``."""
    keypoints = np.stack([np.full(NUM_KEYPOINTS, x), np.linspace(20, 20 + size, NUM_KEYPOINTS)], axis=1)
    box = np.array([x - size / 4, 20, x + size / 4, 20 + size], np.float32)
    scores = np.broadcast_to(np.float32(score), NUM_KEYPOINTS).astype(np.float32)
    return PersonPose(person_id, keypoints.astype(np.float32), scores, box, 0.9)


def walking(frames: int, person_id: int = 0, step: float = 4.0, score: float = 0.9) -> list[list[PersonPose]]:
    """Somebody who goes ``step`` pixels to the right in every frame: step / 200 box heights."""
    return [[somebody(person_id, 50 + step * frame, score)] for frame in range(frames)]


def video(video_id: str, people: Sequence[list[PersonPose]], fps: float = 10.0, uri: str | None = None) -> VideoPoses:
    times = [frame / fps for frame in range(len(people))]
    return VideoPoses(video_id, uri or f"/nowhere/{video_id}.mp4", fps, 640, 480, times, list(people))


def write_output(
    folder: Path,
    tables: Mapping[str, Sequence[VideoPoses]],
    cuts: Mapping[str, Sequence[int]] | None = None,
    row_group: int = 1 << 20,
) -> Path:
    """An output of extract_poses: ``tables`` are the files in ``poses/`` with the videos in each."""
    (folder / "poses").mkdir(parents=True, exist_ok=True)
    rows = []
    for name, videos in tables.items():
        ordered = sorted(videos, key=lambda poses: poses.video_id)
        about = {KEY: b'{"schema_version": 1}'}
        table = pa.Table.from_pylist([row for poses in ordered for row in pose_rows(poses)], SCHEMA)
        path = folder / "poses" / name
        pq.write_table(table.replace_schema_metadata(about), path, compression="zstd", row_group_size=row_group)
        rows += [_summary(poses, f"poses/{name}", (cuts or {}).get(poses.video_id, ())) for poses in ordered]
    pq.write_table(pa.Table.from_pylist(rows, VIDEOS_SCHEMA), folder / "videos.parquet", compression="zstd")
    return folder


def write_anew(table: Path, made: Sequence[Mapping[str, object]]) -> None:
    """A pose table as ``PoseFileWriter`` leaves it: the rows of the videos that it ``made`` (its contents)."""
    ids = [row["video_id"] for row in made]
    left = pq.read_table(table, filters=[("video_id", "in", ids)])
    writer = PoseFileWriter(str(table))
    writer.write(left.replace_schema_metadata())
    writer.close(contents_table([{"settings": "{}", **row} for row in made]), {})


def pose_rows(poses: VideoPoses) -> list[dict[str, object]]:
    return [
        {
            "video_id": poses.video_id, "uri": poses.uri, "frame_index": frame, "pts_s": poses.pts_s[frame],
            "width": poses.width, "height": poses.height, "person_id": person.person_id, "bbox": person.box,
            "bbox_score": person.box_score, "keypoints": person.keypoints.ravel(), "scores": person.scores,
        }
        for frame, people in enumerate(poses.people)
        for person in people
    ]  # fmt: skip


def _summary(poses: VideoPoses, table: str, cuts: Sequence[int]) -> dict[str, object]:
    main = follow_person(poses.people, poses.width, poses.height)
    seen = main.scores[main.seen]
    parts = {"body": BODY, "face": FACE, "left_hand": LEFT_HAND, "right_hand": RIGHT_HAND}
    return {
        "video_id": poses.video_id, "uri": poses.uri, "status": "whole", "fingerprint": "f", "table": table,
        "duration_s": len(poses.people) / poses.fps, "source_fps": poses.fps, "fps": poses.fps,
        "width": poses.width, "height": poses.height, "frames": len(poses.people),
        "people": len({person.person_id for people in poses.people for person in people}),
        **{f"confidence_{name}": seen[:, part].mean() if len(seen) else None for name, part in parts.items()},
        "reliable_left_hand": hand_reliable(main.scores, "left").mean(),
        "reliable_right_hand": hand_reliable(main.scores, "right").mean(),
        "motion": 0.5, "cuts": list(cuts), "pts_s": list(poses.pts_s),
    }  # fmt: skip
