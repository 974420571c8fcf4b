"""Pose features of frames, drawn and encoded when they are first needed and kept for the steps that follow."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from model.conditioning import to_signed
from model.framing import POSE_FACTOR, LatentGrid, pad_to_multiple

if TYPE_CHECKING:
    from model.posenet import PoseNet

CAPACITY_BYTES = 4 << 30
"""What is kept at most. At 576x1024 in float16 that is some 700 frames; beyond it they are drawn again every step."""


class PoseFeatures:
    """Features (C, h, w) a frame, on the network's device; the least recently used go when they grow too many."""

    def __init__(self, pose_net: PoseNet, device: torch.device, dtype: torch.dtype, grid: LatentGrid) -> None:
        self._pose_net, self._device, self._dtype = pose_net, device, dtype
        self._multiple = grid.multiple // grid.factor * POSE_FACTOR
        self._kept: OrderedDict[Hashable, torch.Tensor] = OrderedDict()
        self._bytes = 0

    @torch.no_grad()
    def of(self, video: Hashable, frames: Sequence[int], draw: Callable[[int], np.ndarray]) -> torch.Tensor:
        """(L, C, h, w) of the ``frames`` of a ``video``; ``draw(frame)`` gives guidance images (H, W, 3) uint8."""
        found = []
        for frame in frames:
            key = (video, frame)
            if key not in self._kept:
                # Nobody is drawn beyond the picture.
                image = pad_to_multiple(draw(frame), self._multiple, "constant")
                pixels = to_signed(image, self._device)[None].to(self._dtype)
                self._kept[key] = self._pose_net(pixels)[0]
                self._bytes += self._kept[key].nbytes
            self._kept.move_to_end(key)
            found.append(self._kept[key])
        while self._bytes > CAPACITY_BYTES and self._kept:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return torch.stack(found)

    def forget(self, video: Hashable) -> None:
        """Drop the features of a video that is finished."""
        for key in [key for key in self._kept if isinstance(key, tuple) and key[0] == video]:
            self._bytes -= self._kept.pop(key).nbytes
