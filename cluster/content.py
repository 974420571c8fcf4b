"""A video as it is sent to workers: small pieces in the object store, fetched by those who need them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import ray

from cluster.snapshots import Snapshots
from model.keypoints import PoseSequence
from model.scene import Scene, SegmentedVideo
from model.settings import AnimationSettings

# Frames of poses that travel together: 100 KB, and no more than a window needs.
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class SceneContent:
    """A scene whose poses lie apart, in blocks."""

    picture: np.ndarray
    reference_pose: PoseSequence
    blocks: Sequence[ray.ObjectRef]
    driving_frames: int
    settings: AnimationSettings
    snapshots: Snapshots | None

    @staticmethod
    def of(scene: Scene, settings: AnimationSettings, snapshots: Snapshots | None) -> SceneContent:
        """Put the poses into the object store."""
        frames = len(scene.poses)
        blocks = [ray.put(scene.poses[start : start + _BLOCK]) for start in range(0, frames, _BLOCK)]
        return SceneContent(scene.picture, scene.reference_pose, blocks, frames, settings, snapshots)

    def fetched(self) -> SegmentedVideo:
        """What an engine opens; poses are fetched as they are asked for."""
        return SegmentedVideo(self.picture, self.driving_frames + 1, self.settings, _Poses(self).of)


class _Poses:
    """The fitted pose of any frame. Keeps the blocks that were used last."""

    def __init__(self, content: SceneContent) -> None:
        self._content = content
        self._kept: OrderedDict[int, PoseSequence] = OrderedDict()

    def of(self, frame: int) -> PoseSequence:
        if frame == 0:
            return self._content.reference_pose
        block, place = divmod(frame - 1, _BLOCK)
        if block not in self._kept:
            self._kept[block] = ray.get(self._content.blocks[block])
            if len(self._kept) > 2:
                self._kept.popitem(last=False)
        return self._kept[block][place : place + 1]
