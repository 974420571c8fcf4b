"""A clip of a figure: its frames, its exact keypoints, and what a detector says of them. Any index gives one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.keypoints import PoseSequence
from model.mirroring import mirrored_points
from pipeline.figures.appearance import draw_appearance
from pipeline.figures.detector import detect
from pipeline.figures.motion import generated_motion
from pipeline.figures.placing import placed
from pipeline.figures.rendering import FigureRenderer
from pipeline.figures.skeleton import body_scale


@dataclass(frozen=True, eq=False)
class FigureClip:
    """``frames`` (T, H, W, 3) uint8 RGB, ``truth`` (T, 133, 2) float32 pixels, ``detected`` the poses of T frames;
    ``background`` (H, W, 3) uint8 is the place without the figure.
    """

    frames: np.ndarray
    truth: np.ndarray
    detected: PoseSequence
    background: np.ndarray


def figure_clip(
    seed: int,
    index: int,
    frames: int,
    height: int,
    width: int,
    motion: np.ndarray | None = None,
    chosen: Sequence[int] | None = None,
) -> FigureClip:
    """Clip ``index`` of those that ``seed`` stands for: the same bytes wherever it is made.

    A new figure in a new place moves for ``frames`` frames of ``height`` x ``width``: as made up, or as ``motion``,
    (T, 133, 2) in any units, says, which is mirrored half of the time. Of all frames only those ``chosen`` are
    rendered and returned, in that order.
    """
    if motion is None:
        motion = generated_motion(_rng(seed, index, "motion"), frames)
    elif _rng(seed, index, "mirror").random() < 0.5:
        motion = mirrored_points(motion[:frames], 0)
    truth = placed(motion[:frames], _rng(seed, index, "place"), height, width)
    detected = detect(_rng(seed, index, "detector"), truth, height, width)
    figure = FigureRenderer(draw_appearance(_rng(seed, index, "appearance")), body_scale(truth), height, width)
    wanted = np.arange(len(truth)) if chosen is None else np.asarray(chosen)
    return FigureClip(
        np.stack([figure.frame(truth[frame]) for frame in wanted]),
        truth[wanted],
        _picked(detected, wanted),
        figure.background(),
    )


def _picked(poses: PoseSequence, frames: np.ndarray) -> PoseSequence:
    return PoseSequence(
        poses.keypoints[frames],
        poses.scores[frames],
        poses.boxes[frames],
        poses.box_scores[frames],
        poses.people[frames],
        poses.width,
        poses.height,
    )


def _rng(seed: int, index: int, purpose: str) -> np.random.Generator:
    digest = hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
