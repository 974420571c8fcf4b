"""Pictures beside each other, to see a result with what it was made from."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

SEEN = 288
"""Height in pixels that panels at least get: in the small network's 96 nobody sees a hand."""

_GAP_SHARE = 64
_GAP_COLOUR = 255


def side_by_side(panels: Sequence[np.ndarray], height: int) -> np.ndarray:
    """Panels from left to right, scaled to one height, with thin white gaps.

    Args:
        panels: (H, W, 3) uint8 RGB each, of any sizes.
        height: of the result, in pixels.

    Returns:
        (height, total width, 3) uint8 RGB. Each panel keeps its proportions.

    Raises:
        ValueError: no panel, a height below 1, or a panel that is not such an array.
    """
    if not panels or height < 1:
        raise ValueError(f"{len(panels)} panels at height {height}: give at least one panel and a height of at least 1")
    gap = np.full((height, max(1, height // _GAP_SHARE), 3), _GAP_COLOUR, np.uint8)
    row: list[np.ndarray] = []
    for number, panel in enumerate(panels):
        if panel.ndim != 3 or panel.shape[2] != 3 or panel.dtype != np.uint8 or panel.size == 0:
            raise ValueError(f"panel {number} is {panel.dtype} {panel.shape}; expected uint8 (height, width, 3) RGB")
        row += [gap, _scaled(panel, height)]
    return np.concatenate(row[1:], axis=1)


def _scaled(panel: np.ndarray, height: int) -> np.ndarray:
    if panel.shape[0] == height:
        return panel
    width = max(1, round(panel.shape[1] * height / panel.shape[0]))
    return np.asarray(Image.fromarray(panel).resize((width, height), Image.Resampling.LANCZOS))
