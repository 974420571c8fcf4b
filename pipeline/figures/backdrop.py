"""What stands behind a figure: a wall, a floor, and some shapes."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.figures.appearance import Appearance


def backdrop(look: Appearance, height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    top, bottom = (np.array(colour) for colour in look.sky)
    ramp = np.linspace(0, 1, height)[:, None]
    page = np.repeat((top * (1 - ramp) + bottom * ramp)[:, None], width, axis=1)
    page = np.ascontiguousarray(page.astype(np.uint8))
    for x, y, w, h, colour, round_ in look.shapes:
        centre = (round(x * width), round(y * height))
        axes = (max(1, round(0.5 * w * width)), max(1, round(0.5 * h * height)))
        if round_:
            cv2.ellipse(page, centre, axes, 0, 0, 360, colour, cv2.FILLED)
        else:
            corners = (centre[0] - axes[0], centre[1] - axes[1]), (centre[0] + axes[0], centre[1] + axes[1])
            cv2.rectangle(page, *corners, colour, cv2.FILLED)
    colour, horizon = look.floor
    cv2.rectangle(page, (0, round(horizon * height)), (width, height), colour, cv2.FILLED)
    return page
