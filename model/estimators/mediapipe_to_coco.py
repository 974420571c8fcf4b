"""MediaPipe's body, hand and face landmarks as the 133 keypoints of COCO-WholeBody."""

from __future__ import annotations

import numpy as np

from model.keypoints import BODY, FACE, FEET, LEFT_HAND, NUM_KEYPOINTS, RIGHT_HAND

# BlazePose landmarks, in the order of COCO's body.
BODY_LANDMARKS = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
# Big toe, small toe, heel; BlazePose has one point for the toes.
FEET_LANDMARKS = (31, 31, 29, 32, 32, 30)
# The face mesh has no vertex at some of the 68 points; the mean of two neighbours stands for those.
JAW = (127, 234, 93, (132, 58), (58, 172), 136, 150, 176, 152, 400, 379, 365, (397, 288), 361, 323, 454, 356)
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
NOSE = ((168, 6), (197, 195), 5, 4, 75, 97, 2, 326, 305)
EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
LIPS = (61, 39, 37, 0, 267, 269, 291, 321, 314, 17, 84, 91, 78, 82, 13, 312, 308, 317, 14, 87)

_BODY_AND_FEET = slice(BODY.start, FEET.stop)
_LANDMARKS = np.array((*BODY_LANDMARKS, *FEET_LANDMARKS))
_FACE_PAIRS = np.array(
    [vertex if isinstance(vertex, tuple) else (vertex, vertex) for vertex in (*JAW, *BROWS, *NOSE, *EYES, *LIPS)]
).T


def whole_body(
    body: np.ndarray,
    body_scores: np.ndarray,
    hands: tuple[tuple[np.ndarray, float], tuple[np.ndarray, float]],
    face: tuple[np.ndarray, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (133, 2) float32 and scores (133,) float32 in 0..1.

    ``body`` (33, 2) with a score each; ``hands`` left and right, (21, 2) with one presence each, which counts as much
    as the wrist that carries it; ``face`` (468, 2) with one score.
    """
    keypoints = np.empty((NUM_KEYPOINTS, 2), np.float32)
    scores = np.empty(NUM_KEYPOINTS, np.float32)
    keypoints[_BODY_AND_FEET] = body[_LANDMARKS]
    scores[_BODY_AND_FEET] = body_scores[_LANDMARKS]
    for part, wrist, (points, presence) in zip((LEFT_HAND, RIGHT_HAND), (15, 16), hands, strict=True):
        keypoints[part] = points
        scores[part] = presence * body_scores[wrist]
    mesh = face[0]
    keypoints[FACE] = (mesh[_FACE_PAIRS[0]] + mesh[_FACE_PAIRS[1]]) / 2
    scores[FACE] = face[1]
    return keypoints, scores.clip(0, 1)
