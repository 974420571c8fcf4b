"""What a video's poses amount to: one row of ``videos.parquet``, gathered frame by frame in little memory."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from model.estimators.tracking import box_areas, count_in_view
from model.keypoints import BODY, FACE, HANDS, LEFT_HAND, RIGHT_HAND, PersonPose, Side, hand_reliable
from model.motion import body_speed

SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("status", pa.string()),
        ("note", pa.string()),
        ("fingerprint", pa.string()),
        ("table", pa.string()),
        ("duration_s", pa.float64()),
        ("source_fps", pa.float64()),
        ("fps", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("frames", pa.int64()),
        ("people", pa.int32()),
        ("confidence_body", pa.float32()),
        ("confidence_face", pa.float32()),
        ("confidence_left_hand", pa.float32()),
        ("confidence_right_hand", pa.float32()),
        ("reliable_left_hand", pa.float32()),
        ("reliable_right_hand", pa.float32()),
        ("motion", pa.float32()),
        ("cuts", pa.list_(pa.int64())),
        ("pts_s", pa.list_(pa.float64())),
    ]
)
"""Of ``videos.parquet``. Means are over the frames in which the main person, the largest and longest in view, is seen;
null if that is in none. ``pts_s`` are the times of all sampled frames, of which those with nobody have no pose row."""

PARTS = {"body": BODY, "face": FACE, "left_hand": LEFT_HAND, "right_hand": RIGHT_HAND}


@dataclass
class _Person:
    """Sums over the frames in which one person is seen."""

    frames: int = 0
    area: float = 0.0
    confidence: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    reliable: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(HANDS, 0))
    speed: float = 0.0
    steps: int = 0
    last_frame: int = -1
    last_s: float = 0.0
    last: PersonPose | None = None


def speed(before: PersonPose, after: PersonPose, seconds: float) -> float | None:
    """How fast a body moves, in box heights per second; ``None`` where ``body_speed`` knows nothing."""
    pair = (before, after)
    keypoints = np.stack([pose.keypoints for pose in pair])[:, None]
    scores = np.stack([pose.scores for pose in pair])[:, None]
    heights = np.array([[pose.box[3] - pose.box[1]] for pose in pair])
    found = float(body_speed(keypoints, scores, heights, np.array([seconds]))[0])
    return None if math.isnan(found) else found


class SummaryTally:
    """Fed every sampled frame in order. Memory grows by 8 bytes a frame and a little for each person."""

    def __init__(self) -> None:
        self.pts_s = array("d")
        self._people: dict[int, _Person] = {}
        # Steps into the last frame, which do not count if it turns out to begin a shot.
        self._pending: list[tuple[_Person, float]] = []

    def new_shot(self) -> None:
        """The last frame began a shot: nobody moved into it from the frame before."""
        self._pending.clear()

    def add(self, pts_s: float, people: Sequence[PersonPose]) -> None:
        """The next frame: its time in seconds and who is in it."""
        self._settle()
        frame = len(self.pts_s)
        self.pts_s.append(pts_s)
        for pose in people:
            person = self._people.setdefault(pose.person_id, _Person())
            person.frames += 1
            person.area += float(box_areas(pose.box))
            for name, part in PARTS.items():
                person.confidence[name] += float(pose.scores[part].mean(dtype=np.float64))
            for side in HANDS:
                person.reliable[side] += bool(hand_reliable(pose.scores, side))
            if person.last is not None and person.last_frame == frame - 1:
                step = speed(person.last, pose, pts_s - person.last_s)
                if step is not None:
                    self._pending.append((person, step))
            person.last_frame, person.last_s, person.last = frame, pts_s, pose

    def _settle(self) -> None:
        for person, step in self._pending:
            person.speed += step
            person.steps += 1
        self._pending.clear()

    def columns(self) -> dict[str, Any]:
        """The columns of ``SCHEMA`` that frames and people decide."""
        self._settle()
        frames = len(self.pts_s)
        # As follow_person chooses: the largest sum of box areas, the first seen of equals.
        main = min(self._people.items(), key=lambda entry: (-entry[1].area, entry[0]), default=(0, None))[1]
        facts: dict[str, Any] = {
            "frames": frames,
            "people": count_in_view([person.frames for person in self._people.values()], frames),
            "motion": main.speed / main.steps if main and main.steps else 0.0,
            "pts_s": list(self.pts_s),
        }
        for name in PARTS:
            facts[f"confidence_{name}"] = main.confidence[name] / main.frames if main else None
        for side in HANDS:
            facts[f"reliable_{side}_hand"] = main.reliable[side] / frames if main else 0.0
        return facts
