"""Where the loss counts more: around hands that the detector is sure of (paper section 3.3)."""

from __future__ import annotations

import numpy as np

from model.keypoints import HANDS, hand_reliable

HAND_WEIGHT = 10.0
"""As in the paper."""

MARGIN = 0.15
"""By what part of its longer side the box around a hand's keypoints grows on each side: fingertips have flesh."""


def hand_weights(
    keypoints: np.ndarray,
    scores: np.ndarray,
    picture: tuple[int, int],
    latent: tuple[int, int],
    weight: float = HAND_WEIGHT,
    margin: float = MARGIN,
) -> np.ndarray:
    """The loss's weights, (T, h, w) float32: ``weight`` inside a reliable hand's box, 1 elsewhere.

    ``keypoints`` (T, 133, 2) and ``scores`` (T, 133) in a ``picture`` of (H, W) pixels; ``latent`` is (h, w). A hand
    counts when each of its 21 keypoints scores above the threshold; one doubtful finger and nothing is weighted. The
    box covers every latent pixel that it touches. Two hands in one place count once.
    """
    weights = np.ones((len(keypoints), *latent), np.float32)
    (height, width), (rows, columns) = picture, latent
    per_pixel = np.array([columns / width, rows / height])
    for side, points in HANDS.items():
        for frame in np.flatnonzero(hand_reliable(scores, side)):
            hand = keypoints[frame, points].astype(np.float64)
            low, high = hand.min(axis=0), hand.max(axis=0)
            grown = margin * (high - low).max()
            left, top = np.floor((low - grown) * per_pixel).astype(int).clip(0)
            right, bottom = np.ceil((high + grown) * per_pixel).astype(int).clip(0)
            weights[frame, top:bottom, left:right] = weight
    return weights
