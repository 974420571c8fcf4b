"""A motion placed in a picture: one scale and one shift for the whole clip, as a standing camera sees it."""

from __future__ import annotations

import numpy as np

_CLOSER = 0.15


def placed(motion: np.ndarray, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(T, 133, 2) in any units to pixels of the picture, float32.

    Nearly all of the motion is in view and fills most of the picture one way; one clip in seven is closer, cut at the
    thighs or the knees.
    """
    points = motion.astype(np.float64)
    low = np.percentile(points.min(axis=1), 5, axis=0)
    high = np.percentile(points.max(axis=1), 95, axis=0)
    extent = np.maximum(high - low, 1e-6)
    room = np.array([width, height]) * np.array([rng.uniform(0.8, 1.02), rng.uniform(0.7, 0.93)])
    scale = float((room / extent).min())
    centre = 0.5 * (low + high)
    middle = np.array([width, height]) * 0.5
    spare = np.maximum(np.array([width, height]) - scale * extent, 0) * 0.5
    target = middle + spare * rng.uniform(-0.7, 0.7, 2)
    if rng.random() < _CLOSER:
        scale *= rng.uniform(1.2, 1.7)
        # The head stays in view: what is lost is lost below.
        target[1] = 0.08 * height + scale * 0.5 * extent[1]
    return ((points - centre) * scale + target).astype(np.float32)
