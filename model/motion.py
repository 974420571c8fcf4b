"""How fast people move, whatever their size in the picture and however often it was sampled."""

from __future__ import annotations

import numpy as np

from model.keypoints import BODY, RELIABLE


def body_speed(keypoints: np.ndarray, scores: np.ndarray, box_heights: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Mean speed of a person's confident body keypoints between two pictures, in box heights a second.

    ``keypoints`` (2, N, 133, 2) pixels and ``scores`` (2, N, 133): N people before and after; ``box_heights`` (2, N)
    pixels; ``seconds`` (N,) between the two. A keypoint is confident that scores above ``RELIABLE`` in both. Returns
    (N,), NaN where no keypoint is, where the boxes have no height, or where no time passed (the same picture twice).
    """
    both = (scores[..., BODY] > RELIABLE).all(axis=0)
    moved = np.linalg.norm(np.diff(keypoints[..., BODY, :].astype(np.float64), axis=0)[0], axis=-1)
    pixels = np.where(both, moved, 0).sum(axis=-1)
    scale = both.sum(axis=-1) * box_heights.astype(np.float64).mean(axis=0) * seconds
    known = (scale > 0) & (seconds > 0)
    return np.divide(pixels, scale, out=np.full(len(scale), np.nan), where=known)
