"""Which frame of a shot shows a person best: the reference picture of a clip."""

from __future__ import annotations

import numpy as np

from pipeline.clips import Stretch, Timeline

GOOD_ENOUGH = 0.9
"""A frame outside of the clip is taken that is at least so good, as a share of the best one inside."""


class ReferenceFrames:
    """Reference frames for the clips of one video.

    Of the frames of the clip's shot that could be in a clip of the same person, the best one outside of the clip is
    taken, so that the network does not see its reference again among the frames it learns from. If none of them is
    ``GOOD_ENOUGH`` times as good as the best one of the clip itself, it is that one. How good a frame is says
    ``Measures.quality``: the mean of the confidences of body and feet, face, left hand and right hand. Of frames alike
    the earliest is taken.
    """

    def __init__(self, line: Timeline) -> None:
        self._line = line
        self._person = line.person
        fit = np.array([reason is None for reason in line.reason], bool)
        self._quality = np.full(len(fit), -np.inf)
        self._quality[fit] = line.measures.quality[line.row[fit]]
        self._ranked: dict[tuple[int, int], np.ndarray] = {}

    def of(self, clip: Stretch) -> int:
        """The frame to use for a clip."""
        ranked = self._best_first(int(self._line.shot[clip.start]), int(self._person[clip.start]))
        inside = clip.start + int(np.argmax(self._quality[clip.start : clip.stop]))
        # No more frames than the clip has can be better than the best one outside of it.
        best = ranked[: clip.stop - clip.start + 1]
        outside = best[(best < clip.start) | (best >= clip.stop)]
        if len(outside) and self._quality[outside[0]] >= GOOD_ENOUGH * self._quality[inside]:
            return int(outside[0])
        return inside

    def _best_first(self, shot: int, person: int) -> np.ndarray:
        if (shot, person) not in self._ranked:
            start, stop = np.searchsorted(self._line.shot, [shot, shot + 1])
            fit = (self._person[start:stop] == person) & np.isfinite(self._quality[start:stop])
            frames = start + np.flatnonzero(fit)
            self._ranked[shot, person] = frames[np.argsort(-self._quality[frames], kind="stable")]
        return self._ranked[shot, person]
