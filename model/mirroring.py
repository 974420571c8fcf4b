"""Poses as seen in a mirror: what was left is right, in name too."""

from __future__ import annotations

import numpy as np

from model.keypoints import FACE, LEFT_HAND, NUM_KEYPOINTS, RIGHT_HAND, PoseSequence


def _mirror() -> np.ndarray:
    order = np.arange(NUM_KEYPOINTS)
    for left in range(1, 17, 2):
        order[[left, left + 1]] = left + 1, left
    order[17:20], order[20:23] = np.arange(20, 23), np.arange(17, 20)
    # The 68 points of a face: jaw, brows, nose, eyes, outer and inner lips (iBUG's order).
    # fmt: off
    face = np.r_[
        16:-1:-1, 26:16:-1, 27:31, 35:30:-1, 45:41:-1, 47, 46, 39:35:-1, 41, 40, 54:47:-1, 59:54:-1, 64:59:-1, 67:64:-1
    ]
    # fmt: on
    order[FACE] = FACE.start + face
    order[LEFT_HAND] = np.arange(RIGHT_HAND.start, RIGHT_HAND.stop)
    order[RIGHT_HAND] = np.arange(LEFT_HAND.start, LEFT_HAND.stop)
    return order


MIRROR = _mirror()
"""Which keypoint each of the 133 becomes."""


def mirrored_points(keypoints: np.ndarray, width: float) -> np.ndarray:
    """(..., 133, 2) pixels in a picture of ``width``, mirrored with it."""
    flipped = keypoints[..., MIRROR, :].copy()
    flipped[..., 0] = width - 1 - flipped[..., 0]
    return flipped


def mirrored(poses: PoseSequence) -> PoseSequence:
    """Poses mirrored with their picture."""
    boxes = poses.boxes.copy()
    boxes[:, [0, 2]] = poses.width - 1 - poses.boxes[:, [2, 0]]
    return PoseSequence(
        mirrored_points(poses.keypoints, poses.width),
        poses.scores[:, MIRROR],
        boxes,
        poses.box_scores,
        poses.people,
        poses.width,
        poses.height,
    )
