"""A page to draw filled shapes on, with places in parts of a pixel."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.figures.appearance import Colour

_SHIFT = 4
"""Bits of a place behind the point, as OpenCV takes them."""


class Canvas:
    """Draws over ``pixels``, (H, W, 3) uint8 RGB; all places and widths are in its pixels."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels

    def taper(self, a: np.ndarray, b: np.ndarray, wide_a: float, wide_b: float, colour: Colour) -> None:
        """A limb from ``a`` to ``b`` with round ends, as wide as that at each."""
        along = b - a
        length = float(np.linalg.norm(along))
        if length > 1e-6:
            side = np.array([-along[1], along[0]]) / length
            self.polygon(
                [a + 0.5 * wide_a * side, b + 0.5 * wide_b * side, b - 0.5 * wide_b * side, a - 0.5 * wide_a * side],
                colour,
            )
        self.disc(a, 0.5 * wide_a, colour)
        self.disc(b, 0.5 * wide_b, colour)

    def polygon(self, points: np.ndarray | list[np.ndarray], colour: Colour) -> None:
        """Filled; ``points`` are (N, 2)."""
        cv2.fillPoly(self._pixels, [_fixed(np.asarray(points))], colour, cv2.LINE_8, _SHIFT)

    def line(self, points: np.ndarray, width: float, colour: Colour) -> None:
        """Through ``points``, (N, 2)."""
        cv2.polylines(self._pixels, [_fixed(points)], False, colour, max(1, round(width)), cv2.LINE_8, _SHIFT)

    def disc(self, centre: np.ndarray, radius: float, colour: Colour) -> None:
        """Filled."""
        x, y = _fixed(centre).tolist()
        cv2.circle(self._pixels, (x, y), max(1, round(radius * 2**_SHIFT)), colour, cv2.FILLED, cv2.LINE_8, _SHIFT)

    def ellipse(self, centre: np.ndarray, half_width: float, half_height: float, tilt: float, colour: Colour) -> None:
        """Filled, turned by ``tilt`` degrees clockwise."""
        x, y = _fixed(centre).tolist()
        axes = (round(half_width * 2**_SHIFT), round(half_height * 2**_SHIFT))
        cv2.ellipse(self._pixels, (x, y), axes, tilt, 0, 360, colour, cv2.FILLED, cv2.LINE_8, _SHIFT)


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(points * 2**_SHIFT).astype(np.int32)
