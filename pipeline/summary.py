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


_POSES_AT_ONCE = 64
"""That are counted together: one by one, NumPy's calls take nine times as long."""


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


@dataclass
class _Seen:
    """Somebody in a frame; ``before`` is in the one before, ``seconds`` ago, unless they were not, or it was cut."""

    person: _Person
    pose: PersonPose
    before: PersonPose | None
    seconds: float


def speeds(before: Sequence[PersonPose], after: Sequence[PersonPose], seconds: Sequence[float]) -> np.ndarray:
    """(N,) how fast N bodies move, in box heights per second; NaN where ``body_speed`` knows nothing."""
    keypoints = np.stack([[pose.keypoints for pose in poses] for poses in (before, after)])
    scores = np.stack([[pose.scores for pose in poses] for poses in (before, after)])
    boxes = np.stack([[pose.box for pose in poses] for poses in (before, after)])
    return body_speed(keypoints, scores, boxes[..., 3] - boxes[..., 1], np.array(seconds))


class SummaryTally:
    """Fed every sampled frame in order. Memory grows by 8 bytes a frame and a little for each person."""

    def __init__(self) -> None:
        self.pts_s = array("d")
        self._people: dict[int, _Person] = {}
        self._waiting: list[_Seen] = []
        # Of the last frame, which may turn out to begin a shot.
        self._last: list[_Seen] = []

    def new_shot(self) -> None:
        """The last frame began a shot: nobody moved into it from the frame before."""
        for seen in self._last:
            seen.before = None

    def add(self, pts_s: float, people: Sequence[PersonPose]) -> None:
        """The next frame: its time in seconds and who is in it."""
        self._settle()
        if len(self._waiting) >= _POSES_AT_ONCE:
            self._count()
        frame = len(self.pts_s)
        self.pts_s.append(pts_s)
        for pose in people:
            person = self._people.setdefault(pose.person_id, _Person())
            before = person.last if person.last_frame == frame - 1 else None
            self._last.append(_Seen(person, pose, before, pts_s - person.last_s))
            person.last_frame, person.last_s, person.last = frame, pts_s, pose

    def _settle(self) -> None:
        self._waiting += self._last
        self._last = []

    def _count(self) -> None:
        seen, self._waiting = self._waiting, []
        if not seen:
            return
        scores = np.stack([one.pose.scores for one in seen])
        areas = box_areas(np.stack([one.pose.box for one in seen]))
        confidence = {name: scores[:, part].mean(axis=1, dtype=np.float64) for name, part in PARTS.items()}
        reliable = {side: hand_reliable(scores, side) for side in HANDS}
        for index, one in enumerate(seen):
            one.person.frames += 1
            one.person.area += float(areas[index])
            for name in PARTS:
                one.person.confidence[name] += float(confidence[name][index])
            for side in HANDS:
                one.person.reliable[side] += bool(reliable[side][index])
        moved = [(one, one.before) for one in seen if one.before is not None]
        if not moved:
            return
        found = speeds(
            [before for _, before in moved], [one.pose for one, _ in moved], [one.seconds for one, _ in moved]
        )
        for (one, _), speed in zip(moved, found.tolist(), strict=True):
            if not math.isnan(speed):
                one.person.speed += speed
                one.person.steps += 1

    def columns(self) -> dict[str, Any]:
        """The columns of ``SCHEMA`` that frames and people decide."""
        self._settle()
        self._count()
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
