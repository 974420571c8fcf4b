"""COCO-WholeBody keypoints turned into the OpenPose-style parts that guidance images are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.keypoints import NUM_KEYPOINTS, RELIABLE

NUM_OPENPOSE = NUM_KEYPOINTS + 1

BODY = slice(0, 18)
"""Nose, neck, right arm, left arm, right leg, left leg, eyes and ears (right before left): OpenPose order."""
FACE = slice(24, 92)
LEFT_HAND = slice(92, 113)
RIGHT_HAND = slice(113, 134)

_LEFT_SHOULDER, _RIGHT_SHOULDER = 5, 6
_NECK = 133
# Where each OpenPose point stands in the 133 points followed by the neck; the feet, face and hands keep their order.
_ORDER = np.array([0, _NECK, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3, *range(17, NUM_KEYPOINTS)])


@dataclass(frozen=True, eq=False)
class DrawnPeople:
    """The P people of one frame, as they are drawn.

    ``body`` (P, 18, 2), ``hands`` (P, 2, 21, 2; left, right) and ``faces`` (P, 68, 2): x then y, both divided by the
    frame's width and height. ``body_scores`` (P, 18), ``hand_scores`` (P, 2, 21), ``face_scores`` (P, 68).
    ``body_valid`` (P, 18) bool: the body points that get a dot.

    Raises ``ValueError`` when the arrays disagree in shape.
    """

    body: np.ndarray
    body_scores: np.ndarray
    body_valid: np.ndarray
    hands: np.ndarray
    hand_scores: np.ndarray
    faces: np.ndarray
    face_scores: np.ndarray

    def __post_init__(self) -> None:
        people = len(self.body)
        expected = {
            "body": (people, 18, 2),
            "body_scores": (people, 18),
            "body_valid": (people, 18),
            "hands": (people, 2, 21, 2),
            "hand_scores": (people, 2, 21),
            "faces": (people, 68, 2),
            "face_scores": (people, 68),
        }
        for name, shape in expected.items():
            if (found := getattr(self, name).shape) != shape:
                raise ValueError(f"DrawnPeople.{name} has shape {found}, expected {shape}")


def to_openpose(keypoints: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(..., 133, 2) keypoints and (..., 133) scores to (..., 134, 2) and (..., 134), in OpenPose order, as released.

    The neck, absent from COCO-WholeBody, is the middle of the shoulders; its score is 1 when both are reliable, else 0.
    """
    shoulders = [_LEFT_SHOULDER, _RIGHT_SHOULDER]
    neck = keypoints[..., shoulders, :].mean(axis=-2, keepdims=True)
    neck_score = (scores[..., shoulders] > RELIABLE).all(axis=-1, keepdims=True).astype(scores.dtype)
    return (
        np.concatenate([keypoints, neck], axis=-2)[..., _ORDER, :],
        np.concatenate([scores, neck_score], axis=-1)[..., _ORDER],
    )


def drawn_people(keypoints: np.ndarray, scores: np.ndarray, width: float, height: float) -> DrawnPeople:
    """People in pixels of a ``width`` x ``height`` frame, (P, 133, 2) with scores (P, 133), as they are drawn."""
    points, points_scores = to_openpose(keypoints, scores)
    points = points / np.array([width, height], np.float64)
    return DrawnPeople(
        body=points[:, BODY],
        body_scores=points_scores[:, BODY],
        body_valid=points_scores[:, BODY] > RELIABLE,
        hands=np.stack([points[:, LEFT_HAND], points[:, RIGHT_HAND]], axis=1),
        hand_scores=np.stack([points_scores[:, LEFT_HAND], points_scores[:, RIGHT_HAND]], axis=1),
        faces=points[:, FACE],
        face_scores=points_scores[:, FACE],
    )


def from_released(
    candidate: np.ndarray,
    subset: np.ndarray,
    score: np.ndarray,
    hands: np.ndarray,
    hands_score: np.ndarray,
    faces: np.ndarray,
    faces_score: np.ndarray,
) -> DrawnPeople:
    """The released pose dictionary of one frame as ``DrawnPeople``.

    ``candidate`` (18*P, 2) body points of all people; ``subset`` (P, 18) their rows, -1 for a point that gets no dot;
    ``score`` (P, 18); ``hands`` (2*P, 21, 2) and ``hands_score`` (2*P, 21), the left hands of all people before the
    right ones; ``faces`` (P, 68, 2) and ``faces_score`` (P, 68). Coordinates are normalised.
    """
    people = len(subset)
    valid = subset >= 0
    rows = np.where(valid, subset, np.arange(18 * people).reshape(people, 18)).astype(int)
    return DrawnPeople(
        body=candidate[rows],
        body_scores=score,
        body_valid=valid,
        hands=hands.reshape(2, people, 21, 2).swapaxes(0, 1),
        hand_scores=hands_score.reshape(2, people, 21).swapaxes(0, 1),
        faces=faces,
        face_scores=faces_score,
    )
