"""Real people's poses without gaps: every keypoint in every frame, so that a figure can be drawn from them."""

from __future__ import annotations

import numpy as np

from model.keypoints import BODY, FACE, HANDS, RELIABLE, PoseSequence
from pipeline.figures.skeleton import face_template, hand_template

_ARMS = {"left": (7, 9), "right": (8, 10)}
_LONGEST_GAP = 6
"""Frames over which a lost hand is taken to go from where it was to where it is."""


def complete(sequence: PoseSequence) -> np.ndarray:
    """(T, 133, 2) float32 pixels: what was found, smoothed lightly; what was not, made up from what it hangs on.

    A body joint is where it was before and will be after; a hand that is away for long is an open one that goes on
    from the forearm, a face that of the template between the ears, a foot points down and out. Raises ``ValueError``
    when a body joint is never found at all.
    """
    points = sequence.keypoints.astype(np.float64).copy()
    found = sequence.scores > 0
    if missing := [joint for joint in range(BODY.stop) if not found[:, joint].any()]:
        raise ValueError(f"keypoint {missing[0]} of the body is found in no frame")
    for joint in range(BODY.stop):
        _bridge(points[:, joint], found[:, joint])
    for side, hand in HANDS.items():
        _hand(points, sequence.scores[:, hand].min(axis=1) > RELIABLE, side, hand)
    _face(points, sequence.scores[:, FACE].min(axis=1) > RELIABLE)
    for number in range(2):
        _foot(points, found, number)
    return _smoothed(points).astype(np.float32)


def _bridge(track: np.ndarray, found: np.ndarray) -> None:
    """Fill a track (T, 2) in a line between the frames where it is found; the ends stay where they were."""
    at = np.flatnonzero(found)
    for axis in range(2):
        track[:, axis] = np.interp(np.arange(len(track)), at, track[at, axis])


def _hand(points: np.ndarray, seen: np.ndarray, side: str, hand: slice) -> None:
    elbow, wrist = _ARMS[side]
    made = _open_hand(points[:, elbow], points[:, wrist], side)
    at = np.flatnonzero(seen)
    relative = points[:, hand] - points[:, wrist, None]
    open_ = made - points[:, wrist, None]
    share = np.ones(len(points))
    for frame in np.flatnonzero(~seen):
        before, after = at[at < frame], at[at > frame]
        gap = (after[0] - before[-1]) if len(before) and len(after) else _LONGEST_GAP + 1
        if gap <= _LONGEST_GAP:
            weight = (frame - before[-1]) / gap
            relative[frame] = (1 - weight) * relative[before[-1]] + weight * relative[after[0]]
        else:
            share[frame] = 0
    points[:, hand] = points[:, wrist, None] + share[:, None, None] * relative + (1 - share)[:, None, None] * open_


def _open_hand(elbow: np.ndarray, wrist: np.ndarray, side: str) -> np.ndarray:
    """(T, 21, 2): a relaxed hand, flat in the picture, thumb towards the body's middle."""
    forearm = wrist - elbow
    length = np.linalg.norm(forearm, axis=1, keepdims=True)
    along = forearm / length.clip(1e-6)
    thumb = np.stack([-along[:, 1], along[:, 0]], axis=1) * (1 if side == "left" else -1)
    size = 0.38 * np.percentile(length, 80)
    template = hand_template(np.full((1, 5), 0.15))[0] * size
    return wrist[:, None] + template[:, :1] * thumb[:, None] + template[:, 1:2] * along[:, None]


def _face(points: np.ndarray, seen: np.ndarray) -> None:
    ears, eyes = points[:, 3] - points[:, 4], points[:, 1] - points[:, 2]
    across = np.maximum(np.linalg.norm(ears, axis=1), 1.9 * np.linalg.norm(eyes, axis=1))
    width = np.percentile(across, 80)
    direction = eyes / np.linalg.norm(eyes, axis=1, keepdims=True).clip(1e-6)
    down = np.stack([-direction[:, 1], direction[:, 0]], axis=1)
    template = face_template() * width
    narrow = (np.linalg.norm(eyes, axis=1) / (0.44 * width)).clip(0.2, 1)
    made = points[:, :1] + template[:, :1] * (direction * narrow[:, None])[:, None] + template[:, 1:2] * down[:, None]
    points[~seen, FACE] = made[~seen]


def _foot(points: np.ndarray, found: np.ndarray, number: int) -> None:
    ankle, knee = points[:, 15 + number], points[:, 13 + number]
    shin = np.linalg.norm(ankle - knee, axis=1, keepdims=True)
    out = 1 if number == 0 else -1
    offsets = np.array([[0.18 * out, 0.22], [0.25 * out, 0.2], [-0.02 * out, 0.12]])
    size = np.percentile(shin, 80)
    for part in range(3):
        place = 17 + 3 * number + part
        lost = ~found[:, place]
        points[lost, place] = ankle[lost] + size * offsets[part]


def _smoothed(points: np.ndarray) -> np.ndarray:
    padded = np.concatenate([points[:1], points, points[-1:]])
    return 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
