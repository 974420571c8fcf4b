"""The 133 keypoints of COCO-WholeBody, and what a pose is: where each keypoint lies and how sure the detector is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

NUM_KEYPOINTS = 133

# COCO-WholeBody order (Jin et al., ECCV 2020). "Left" and "right" are the person's own.
BODY = slice(0, 17)
FEET = slice(17, 23)
FACE = slice(23, 91)
LEFT_HAND = slice(91, 112)
RIGHT_HAND = slice(112, 133)

Side = Literal["left", "right"]
HANDS: dict[Side, slice] = {"left": LEFT_HAND, "right": RIGHT_HAND}

BODY_NAMES = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)

RELIABLE = 0.3
"""A keypoint counts as seen above this score (as released: limbs, points and rescaling all use it)."""


def hand_reliable(scores: np.ndarray, side: Side) -> np.ndarray:
    """Whether a hand can be trusted: all 21 of its keypoints score above ``RELIABLE``, as in the paper's hand loss.

    ``scores`` (..., 133) to (...) bool.
    """
    return np.asarray((scores[..., HANDS[side]] > RELIABLE).all(-1))


@dataclass(frozen=True, eq=False)
class PersonPose:
    """One person in one frame.

    ``keypoints`` (133, 2) float32, pixels of the frame, x then y; ``scores`` (133,) float32 in 0..1;
    ``box`` (4,) float32, pixels, x0 y0 x1 y1; ``box_score`` in 0..1; ``person_id`` is stable along a video.
    """

    person_id: int
    keypoints: np.ndarray
    scores: np.ndarray
    box: np.ndarray
    box_score: float


@dataclass(frozen=True, eq=False)
class PoseSequence:
    """One person through T frames of ``width`` x ``height`` pixels.

    ``keypoints`` (T, 133, 2) float32 pixels; ``scores`` (T, 133) float32 in 0..1, all 0 where the person is not seen;
    ``boxes`` (T, 4) float32 pixels; ``box_scores`` (T,) float32; ``people`` (T,) int32, how many people the frame
    showed, this one included.

    Raises ``ValueError`` when the arrays disagree in length or shape, or hold a NaN.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    box_scores: np.ndarray
    people: np.ndarray
    width: int
    height: int

    def __post_init__(self) -> None:
        frames = len(self.keypoints)
        expected = {
            "keypoints": (frames, NUM_KEYPOINTS, 2),
            "scores": (frames, NUM_KEYPOINTS),
            "boxes": (frames, 4),
            "box_scores": (frames,),
            "people": (frames,),
        }
        for name, shape in expected.items():
            array = getattr(self, name)
            if array.shape != shape:
                raise ValueError(f"PoseSequence.{name} has shape {array.shape}, expected {shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"PoseSequence.{name} holds a NaN or an infinity")

    def __len__(self) -> int:
        return len(self.keypoints)

    def __getitem__(self, frames: slice | list[int]) -> PoseSequence:
        """The same person in a range of frames, or in those given."""
        return PoseSequence(
            self.keypoints[frames],
            self.scores[frames],
            self.boxes[frames],
            self.box_scores[frames],
            self.people[frames],
            self.width,
            self.height,
        )

    def moved(self, move: Callable[[np.ndarray], np.ndarray], width: int, height: int) -> PoseSequence:
        """The same poses in another picture of ``width`` x ``height``; ``move`` maps (..., 2) pixel coordinates."""
        return PoseSequence(
            move(self.keypoints).astype(np.float32),
            self.scores,
            move(self.boxes.reshape(-1, 2, 2)).reshape(-1, 4).astype(np.float32),
            self.box_scores,
            self.people,
            width,
            height,
        )

    @property
    def seen(self) -> np.ndarray:
        """(T,) bool: the person was found in the frame."""
        return np.asarray((self.scores > 0).any(axis=1))

    @staticmethod
    def empty(frames: int, width: int, height: int) -> PoseSequence:
        """Nobody, for ``frames`` frames."""
        return PoseSequence(
            np.zeros((frames, NUM_KEYPOINTS, 2), np.float32),
            np.zeros((frames, NUM_KEYPOINTS), np.float32),
            np.zeros((frames, 4), np.float32),
            np.zeros(frames, np.float32),
            np.zeros(frames, np.int32),
            width,
            height,
        )
