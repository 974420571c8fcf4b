"""A video's poses reduced to what choosing clips and frames needs: some 80 bytes a row instead of 1.6 kB."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np

from model.estimators.tracking import box_areas
from model.keypoints import BODY, FACE, FEET, HANDS, LEFT_HAND, RIGHT_HAND, hand_reliable
from model.motion import body_speed
from pipeline.pose_reader import PoseRows, join_rows
from pipeline.pose_table import PoseTableError

PARTS = {"body": BODY, "face": FACE, "left_hand": LEFT_HAND, "right_hand": RIGHT_HAND, "feet": FEET}
"""Parts of a person whose confidence is told apart, in the order of ``Measures.confidence``."""

_QUALITY = (slice(BODY.start, FEET.stop), FACE, LEFT_HAND, RIGHT_HAND)


@dataclass(frozen=True, eq=False)
class Measures:
    """N rows of one video, one a frame and person, sorted by frame.

    ``frame`` and ``person`` (N,) int64; ``area`` (N,) of the box, pixels; ``confidence`` (N, 5) mean score of each of
    ``PARTS``; ``reliable`` (N, 2) bool, left and right hand; ``quality`` (N,) how well the whole person is seen: mean
    of the confidences of body and feet, face, left hand, right hand; ``speed`` (N,) of the body since the frame
    before, in box heights a second, NaN where it is not known.
    """

    frame: np.ndarray
    person: np.ndarray
    area: np.ndarray
    confidence: np.ndarray
    reliable: np.ndarray
    quality: np.ndarray
    speed: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, rows: np.ndarray) -> Measures:
        """Some of the rows, by mask or by number."""
        return Measures(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def measure(chunks: Iterable[PoseRows]) -> Measures:
    """Everybody in one video, from its rows in order, a chunk at a time.

    Raises ``PoseTableError`` when the rows are not sorted by frame, or show a person twice in one frame.
    """
    parts = [_NOBODY]
    before: PoseRows | None = None
    for rows in chunks:
        joined = rows if before is None else join_rows(before, rows)
        parts.append(
            Measures(
                frame=rows.frame,
                person=rows.person,
                area=box_areas(rows.boxes),
                confidence=np.stack([rows.scores[:, part].mean(axis=1) for part in PARTS.values()], axis=1),
                reliable=np.stack([hand_reliable(rows.scores, side) for side in HANDS], axis=1),
                quality=quality(rows.scores),
                speed=_speeds(joined)[-len(rows.frame) :],
            )
        )
        # A frame may go on in the next chunk, and its people were last seen in the frame before it.
        before = joined[joined.frame >= joined.frame[-1] - 1]
    return Measures(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Measures)}
    )


def quality(scores: np.ndarray) -> np.ndarray:
    """``Measures.quality``, (N,), of ``scores`` (N, 133)."""
    return np.asarray(np.mean([scores[:, part].mean(axis=1) for part in _QUALITY], axis=0))


def _speeds(rows: PoseRows) -> np.ndarray:
    """(N,) float32 speed of each row since the same person's row one frame earlier, NaN where there is none."""
    if (np.diff(rows.frame, prepend=0) < 0).any():
        raise PoseTableError(f"{rows.uri}: the frames are not in order; write the table sorted by video and frame")
    order = np.lexsort((rows.frame, rows.person))
    earlier, later = order[:-1], order[1:]
    same = rows.person[earlier] == rows.person[later]
    gap = rows.frame[later] - rows.frame[earlier]
    if (twice := same & (gap == 0)).any():
        row = later[twice][0]
        raise PoseTableError(f"{rows.uri}: frame {rows.frame[row]} has person {rows.person[row]} twice")
    pairs = np.stack([earlier, later])[:, same & (gap == 1)]
    heights = rows.boxes[pairs, 3] - rows.boxes[pairs, 1]
    seconds = np.diff(rows.pts_s[pairs], axis=0)[0]
    speeds = np.full(len(rows.frame), np.nan, np.float32)
    speeds[pairs[1]] = body_speed(rows.keypoints[pairs], rows.scores[pairs], heights, seconds)
    return speeds


_NOBODY = Measures(
    frame=np.zeros(0, np.int64),
    person=np.zeros(0, np.int64),
    area=np.zeros(0, np.float32),
    confidence=np.zeros((0, len(PARTS)), np.float32),
    reliable=np.zeros((0, len(HANDS)), bool),
    quality=np.zeros(0, np.float32),
    speed=np.zeros(0, np.float32),
)
