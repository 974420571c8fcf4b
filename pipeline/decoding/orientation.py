"""How a video is to be turned so that it is seen as its display matrix says: phones and cameras record as they lie."""

import math
import struct

import numpy as np

_MATRIX = struct.Struct("=9i")


def orientation(display_matrix: bytes | None) -> tuple[int, bool]:
    """Degrees that a picture is turned counter-clockwise, 0, 90, 180 or 270, and whether it is mirrored first.

    ``display_matrix`` is FFmpeg's, nine 32-bit integers row by row: a point (x, y) is shown at (ax + cy, bx + dy), of
    which a, b are the first two of the first row, c, d of the second. What is not a quarter turn is rounded to one;
    ``None``, or what shows nothing, leaves a picture as it is.
    """
    if display_matrix is None or len(display_matrix) != _MATRIX.size:
        return 0, False
    a, b, _, c, d, *_ = _MATRIX.unpack(display_matrix)
    if a * d == b * c:
        return 0, False
    mirrored = a * d < b * c
    if mirrored:
        a, b = -a, -b
    # Of the picture's first axis, where y points down.
    turned = math.degrees(math.atan2(-b, a))
    return round(turned / 90) % 4 * 90, mirrored


def upright(pixels: np.ndarray, rotation: int, mirrored: bool) -> np.ndarray:
    """``pixels`` (height, width, channels) as they are to be seen, in memory of their own row after row."""
    if mirrored:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(np.rot90(pixels, rotation // 90))
