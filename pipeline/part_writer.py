"""One video's poses to a file of their own, as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.keypoints import PersonPose
from pipeline.pose_files import PoseFileWriter, contents_table
from pipeline.pose_table import pose_rows
from pipeline.shots import ShotDetector
from pipeline.summary import SummaryTally
from pipeline.video import Frame, FrameReader

_FRAMES_AT_ONCE = 64  # whose rows are made together
# Small, since a worker holds one; a table is written anew, in larger ones.
_GROUP_ROWS = 512


class PartWriter:
    """Fed the sampled frames of a video with the people in them. Holds a row group, whatever the video's length."""

    def __init__(self, path: Path, uri: str, video_id: str, width: int, height: int) -> None:
        self._writer = PoseFileWriter(str(path), _GROUP_ROWS)
        self._facts = video_id, uri, width, height
        self._shots = ShotDetector()
        self._tally = SummaryTally()
        self._waiting: list[tuple[int, float, Sequence[PersonPose]]] = []
        self._rows = 0
        self.frames = 0

    def add(self, frame: Frame, people: Sequence[PersonPose]) -> None:
        """The next frame and who is in it."""
        cuts = len(self._shots.cuts)
        self._shots.add(frame.pixels)
        if len(self._shots.cuts) > cuts:
            self._tally.new_shot()
        ordered = sorted(people, key=lambda person: person.person_id)
        self._tally.add(frame.pts_s, ordered)
        self._waiting.append((frame.index, frame.pts_s, ordered))
        self._rows += len(ordered)
        self.frames += 1
        if len(self._waiting) == _FRAMES_AT_ONCE:
            self._write()

    def _write(self) -> None:
        self._writer.write(pose_rows(*self._facts, self._waiting))
        self._waiting.clear()

    def close(self, reader: FrameReader, facts: Mapping[str, Any], source: tuple[str, str]) -> None:
        """End the file with what is known of the video now: ``facts`` are its fingerprint and settings."""
        self._write()
        cuts = len(self._shots.cuts)
        if len(self._shots.finish()) > cuts:
            self._tally.new_shot()
        video_id, uri, width, height = self._facts
        info = reader.info
        note = f"it ends before its header says; the {self.frames} frames up to there are kept"
        row = {
            "video_id": video_id,
            "uri": uri,
            "status": "truncated" if reader.truncated else "whole",
            "note": note if reader.truncated else None,
            "duration_s": info.duration_s,
            "source_fps": info.fps,
            "fps": reader.fps,
            "width": width,
            "height": height,
            "cuts": self._shots.cuts,
            **self._tally.columns(),
            "rows": self._rows,
            "bytes": 0,
            "sources": [dict(zip(("uri", "version"), source, strict=True))],
            **facts,
        }
        self._writer.close(contents_table([row]), {})
