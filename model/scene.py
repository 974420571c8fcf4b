"""A scene, ready to run: the reference picture fitted to the video, the driving poses fitted to its person.

Without PyTorch: those who compose scenes and have others animate them start two seconds sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from model.alignment import align_to_reference
from model.framing import fit_picture
from model.guidance import canvas_short_side, draw_pose_sequence
from model.keypoints import PoseSequence
from model.settings import AnimationSettings


@dataclass(frozen=True, eq=False)
class Scene:
    """One animation, ready to run: all in pixels of the video that will come out.

    ``picture`` (H, W, 3) uint8, the reference scaled and cropped; ``reference_pose`` its person, 1 frame; ``poses``
    the driving poses fitted to that person, T frames; ``note`` why the fit is not the regular one, if it is not.
    """

    picture: np.ndarray
    reference_pose: PoseSequence
    poses: PoseSequence
    note: str | None

    def pose_of(self, frame: int) -> PoseSequence:
        """The pose of one frame of the network's video, in which frame 0 is the reference."""
        return self.reference_pose if frame == 0 else self.poses[frame - 1 : frame]

    def guidance(self) -> Iterator[np.ndarray]:
        """The driving frames' guidance images, (H, W, 3) uint8 each."""
        height, width = self.picture.shape[:2]
        return draw_pose_sequence(self.poses, height, width, canvas_short_side(height, width))


def compose(
    reference: np.ndarray,
    reference_pose: PoseSequence,
    driving: PoseSequence,
    settings: AnimationSettings,
    half: bool = False,
) -> Scene:
    """Fit the picture to the video and the driving poses to the person in the picture.

    ``reference`` (H, W, 3) uint8; ``reference_pose`` one frame in its pixels (``PoseSequence.empty`` when nobody is
    seen: the poses are then centred in the picture); ``half`` as for ``fit_picture``.
    Raises ``ValueError`` when there is no driving frame.
    """
    if len(driving) == 0:
        raise ValueError("the driving poses have no frame")
    picture, fit = fit_picture(reference, settings.resolution, settings.style, half)
    height, width = reference.shape[:2]
    moved = reference_pose.moved(lambda points: fit.points(points, height, width), fit.width, fit.height)
    poses, note = align_to_reference(driving, moved, settings.style)
    return Scene(picture, moved, poses, note)


@dataclass(frozen=True, eq=False)
class SegmentedVideo:
    """What is the same for all windows of a video: ``frames`` counts the reference frame, ``pose_of`` gives the fitted
    pose of each; the rest as in ``Scene``.
    """

    picture: np.ndarray
    frames: int
    settings: AnimationSettings
    pose_of: Callable[[int], PoseSequence]
