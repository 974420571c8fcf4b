"""Where one shot ends and the next begins, told from consecutive sampled frames.

A frame is described by the colours in each cell of a grid: a small histogram of red, green and blue a cell. At a cut
nearly the whole picture changes at once, the background too. A dancer, however fast, changes the cells that she moves
through and leaves the others; a moving camera changes all of them a little, frame after frame. So a frame begins a shot
if the least changed third of its cells have changed by a fifth, and by several times what is usual in this video.
A flash of light changes all cells twice: what looks like the frame before it was no cut.

Not found: slow dissolves, and cuts between pictures whose backgrounds look alike.
"""

from __future__ import annotations

import statistics
from collections import deque

import cv2
import numpy as np

GRID = 6
"""Cells in a row and in a column."""
_CELL = 8  # pixels of the thumbnail on a cell's side
_BINS = 8  # a channel
_CELLS = np.arange(GRID * GRID).reshape(GRID, GRID).repeat(_CELL, axis=0).repeat(_CELL, axis=1)
_FIRST_BINS = (_CELLS[:, :, None] * 3 + np.arange(3)) * _BINS  # of each channel of each of the thumbnail's pixels
_MEAN = 100.0  # every thumbnail is brought to this mean, so that stage lights that dim are no cut
_DARK = 16.0  # below this mean there is more noise than picture

CHANGED = 0.2
"""Share of a cell's colours that must differ; 1 is all of them.

Between four cameras in one room it was 0.21 to 0.33, between unlike places 0.5 and more, and in a dance at most 0.03 in
view of the whole body and 0.16 in an extreme close-up, at 4 frames a second."""
QUIETEST = 1 / 3
"""Of the cells: the quantile that must have changed. A person in close-up fills up to two thirds of a picture."""
UNUSUAL = 4.0
"""Times the median change of the last ``_MEMORY`` frames that a cut must reach."""
_MEMORY = 12


def describe(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 to (GRID * GRID, 3 * bins) float32: the colour histogram of each cell, each channel summing to 1.

    Colours near the border between two bins count in part for both, so that noise and dimming change little.
    """
    side = GRID * _CELL
    # Sixteen samples a pixel of the thumbnail are as good as all, and the whole area takes three times as long.
    samples = cv2.resize(pixels, (4 * side, 4 * side), interpolation=cv2.INTER_LINEAR)
    small = cv2.resize(samples, (side, side), interpolation=cv2.INTER_AREA)
    places = small * np.float32((_BINS - 1) / 255 * _MEAN / max(float(small.mean()), _DARK))
    np.minimum(places, _BINS - 1, out=places)
    lower = np.minimum(places.astype(np.intp), _BINS - 2)
    beyond = (places - lower).ravel()
    bins = (lower + _FIRST_BINS).ravel()
    count = GRID * GRID * 3 * _BINS
    sums = np.bincount(bins, 1 - beyond, count) + np.bincount(bins + 1, beyond, count)
    return (sums / _CELL**2).astype(np.float32).reshape(GRID * GRID, -1)


def change(before: np.ndarray, after: np.ndarray) -> float:
    """How far the quieter cells of two descriptions differ, 0 (not at all) to 1 (no colour in common)."""
    each = np.abs(before - after).sum(axis=1) / 6  # three channels, and every difference is counted in two bins
    # NumPy's quantile takes as long as all the rest.
    place, beyond = divmod(QUIETEST * (len(each) - 1), 1)
    quieter, louder = np.sort(each)[int(place) :][:2].tolist()
    return float(quieter + beyond * (louder - quieter))


class ShotDetector:
    """Fed the frames of one video in order; ``cuts`` are the indices at which a new shot begins, rising, never 0.

    Holds the descriptions of a few frames, whatever the length. The last frame is judged by ``finish``.
    """

    def __init__(self) -> None:
        self.cuts: list[int] = []
        self._frame = -1
        self._last: np.ndarray | None = None
        self._usual: deque[float] = deque(maxlen=_MEMORY)
        # The description before a possible cut: one more frame shows whether it was a flash.
        self._before: np.ndarray | None = None

    def add(self, pixels: np.ndarray) -> None:
        """The next frame, (H, W, 3) uint8 RGB."""
        description = describe(pixels)
        self._frame += 1
        if self._last is not None:
            self._judge(description, change(self._last, description))
        self._last = description

    def finish(self) -> list[int]:
        """The video is over: its cuts."""
        if self._before is not None:
            self.cuts.append(self._frame)
            self._before = None
        return self.cuts

    def _judge(self, description: np.ndarray, changed: float) -> None:
        if self._before is not None:
            came_back = change(self._before, description) < CHANGED
            if not came_back:
                self.cuts.append(self._frame - 1)
                self._usual.clear()
            self._before = None
            if came_back:
                return
        usual = statistics.median(self._usual) if self._usual else 0.0
        if changed > CHANGED and changed > UNUSUAL * usual:
            self._before = self._last
        else:
            self._usual.append(changed)
