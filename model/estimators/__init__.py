"""Whole-body pose estimators: frames in, people with 133 scored keypoints out. One file a backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from model.keypoints import PersonPose


class PoseEstimator(Protocol):
    """What a backend is.

    ``name``, ``version`` and ``digest`` (SHA-256 over its weights) go into records and pose tables. A backend whose
    code would now give other poses for the same frames has another version.
    """

    name: str
    version: str
    digest: str

    def track(self, frames: Iterable[np.ndarray]) -> Iterator[list[PersonPose]]:
        """The people of each frame, in the order of the frames and as they are read.

        ``frames`` are consecutive frames of one video, (H, W, 3) uint8 RGB, all of one size. Yields one list a frame,
        empty when nobody is seen; ``person_id`` is the same for the same person along the call. A still image is a
        video of one frame. State of one call never reaches the next.
        """
        ...
