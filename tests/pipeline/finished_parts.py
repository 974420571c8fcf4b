"""Small finished videos for tests of what happens to them afterwards."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from model.keypoints import NUM_KEYPOINTS, PersonPose
from pipeline.pose_files import PoseFileWriter, contents_table
from pipeline.pose_store import Kept, Source, part_name
from pipeline.pose_table import pose_rows
from pipeline.storage import Storage


def video_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def mark(name: str, settings: str = "a") -> str:
    return hashlib.sha256(f"{name} {settings}".encode()).hexdigest()[:32]


def person(number: int, seed: int) -> PersonPose:
    random = np.random.default_rng(seed)
    return PersonPose(
        number,
        random.uniform(0, 500, (NUM_KEYPOINTS, 2)).astype(np.float32),
        random.uniform(0, 1, NUM_KEYPOINTS).astype(np.float32),
        np.array([10, 10, 100, 200], np.float32),
        0.5,
    )


def write_part(storage: Storage, folder: Path, name: str, settings: str = "a", frames: int = 5) -> None:
    """What a worker leaves for a video ``u/NAME``, whose rows depend on the settings too."""
    path, ident, source = folder / "part", video_id(name), (f"u/{name}", "v1")
    writer = PoseFileWriter(str(path))
    seed = int(mark(name, settings)[:8], 16)
    shown = [(index, index / 10, [person(0, seed + index)]) for index in range(frames)]
    writer.write(pose_rows(ident, source[0], 640, 480, shown))
    row = {
        "video_id": ident,
        "uri": source[0],
        "fingerprint": mark(name, settings),
        "frames": frames,
        "rows": frames,
        "settings": json.dumps({"sampling": settings}),
        "sources": [{"uri": source[0], "version": source[1]}],
    }
    writer.close(contents_table([row]), {})
    storage.put(path, part_name(ident, mark(name, settings), source))


def sourced(kept: Kept, *sources: Source) -> Kept:
    return Kept(kept.video_id, kept.fingerprint, kept.file, kept.bytes, sources)
