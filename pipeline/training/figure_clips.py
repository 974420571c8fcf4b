"""Training clips of rendered figures: any index gives a clip, the same anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from model.framing import POSE_FACTOR, LatentGrid
from model.training.batches import TrainingClip
from pipeline.figures.clip import FigureClip, figure_clip
from pipeline.training.guided_clip import training_clip
from pipeline.training.settings import TrainingSettings

REAL_SHARE = 0.4
"""Share of the clips that real people's motion drives, where there is any."""

_REFERENCE_FROM = 24
"""Frames around a clip that its reference is taken from: the first frame of all is far from most poses."""


@dataclass(frozen=True)
class FigureClips:
    """What makes clips. ``motions`` are files of real people's keypoints, (T, 133, 2) float32 each, 8 frames a second.

    ``held_out`` clips are of other figures than any in the run, and of other motions where those are made up; real ones
    are stretches of the same files.
    """

    settings: TrainingSettings
    grid: LatentGrid
    motions: tuple[str, ...] = ()
    held_out: bool = False

    def __call__(self, index: int) -> TrainingClip:
        settings = self.settings
        seed = settings.seed + (1_000_000 if self.held_out else 0)
        rng = np.random.default_rng([seed, index, 77])
        alone = settings.objective == "autoencoding"
        total = settings.frames + (0 if alone else _REFERENCE_FROM)
        motion = None
        if self._motions and rng.random() < REAL_SHARE:
            whole = self._motions[int(rng.integers(len(self._motions)))]
            start = int(rng.integers(max(1, len(whole) - total)))
            motion = whole[start : start + total]
            total = len(motion)
        first = int(rng.integers(total - settings.frames + 1))
        reference = int(rng.integers(total))
        chosen = [reference, *range(first, first + settings.frames - 1)]
        if alone:
            # The decoder looks along time: what it learns from has no leap in it.
            chosen = list(range(first, first + settings.frames))
        clip = figure_clip(seed, index, total, settings.height, settings.width, motion, chosen)
        # By the step, not by the clip: the clips of one step are stacked, so all must have one size.
        early = index // settings.batch < settings.crop_share * settings.steps
        if settings.crop and early and not self.held_out:
            return around_figure(clip, settings.crop, self.grid, rng)
        return training_clip(clip.frames, clip.detected, settings, self.grid)

    @cached_property
    def _motions(self) -> list[np.ndarray]:
        return [np.load(Path(path), allow_pickle=False) for path in self.motions]


def around_figure(clip: FigureClip, side: int, grid: LatentGrid, rng: np.random.Generator) -> TrainingClip:
    """A square of the clip's pictures around some keypoint, for a VAE: the background teaches little."""
    height, width = clip.frames.shape[1:3]
    centre = clip.truth[len(clip.truth) // 2, rng.integers(clip.truth.shape[1])]
    left, top = (int(np.clip(at - side / 2, 0, most - side)) for at, most in zip(centre, (width, height), strict=True))
    frames = clip.frames[:, top : top + side, left : left + side]
    _, rows, columns = grid.shape(side, side)
    drawn = (len(frames), rows * POSE_FACTOR, columns * POSE_FACTOR, 3)
    return TrainingClip(frames, np.zeros(drawn, np.uint8), np.ones((len(frames), rows, columns), np.float32))
