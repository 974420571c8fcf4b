"""How overlapping windows become one video: every step, each frame's prediction is a weighted sum over its windows.

A strategy is a pure function from lengths to windows and weights; the weights of every frame sum to 1. Fusion acts on
the network's output. The Euler step is linear in it, so blending the next latents instead would be the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from model.windows import Windows, balanced_windows, released_windows, shifted_windows


@dataclass(frozen=True)
class FusionPlan:
    """``windows[i]`` are the frames of window i, ``weights[i]`` (len(windows[i]),) float64 their shares."""

    frames: int
    windows: Windows
    weights: tuple[np.ndarray, ...]


def progressive(frames: int, window: int, overlap: int) -> FusionPlan:
    """Progressive latent fusion (paper 3.4, algorithm 1), between neighbours that share C = ``overlap`` frames.

    z_i^j <- j L z_i^j + (1 - j L) z_{i-1}^{N-C+j},  L = 1 / (C + 1),  j = 1..C: the later window comes in evenly.
    Where more than two windows meet (C above half a window), the rule is applied window after window, as written.
    """
    windows = balanced_windows(frames, window, overlap)
    share = np.zeros((len(windows), frames))
    for index, members in enumerate(windows):
        driving = np.array(members[1:], dtype=int)
        arriving = np.ones(len(driving))
        if index > 0:
            arriving[:overlap] = np.arange(1, overlap + 1) / (overlap + 1)
        share[:, driving] *= 1 - arriving
        share[index, driving] = arriving
    return _plan(frames, windows, share)


def released(frames: int, window: int, overlap: int) -> FusionPlan:
    """The released code's rule: a triangle over each window, divided by the sum over all windows that hold the frame.

    w_k = min((k + 1/2) 2/T, 2 - (k + 1/2) 2/T) for position k of a window of T frames, the reference frame at k = 0.
    """
    windows = released_windows(frames, window, overlap)
    share = np.zeros((len(windows), frames))
    for index, members in enumerate(windows):
        share[index, list(members)] = triangle(len(members))
    return _plan(frames, windows, share)


def mean(frames: int, window: int, overlap: int) -> FusionPlan:
    """Plain average over the windows that hold the frame (MultiDiffusion, Bar-Tal et al. 2023, equation 5)."""
    windows = balanced_windows(frames, window, overlap)
    share = np.zeros((len(windows), frames))
    for index, members in enumerate(windows):
        share[index, list(members)] = 1.0
    return _plan(frames, windows, share)


def none(frames: int, window: int, overlap: int) -> FusionPlan:
    """No fusion: windows side by side, each driving frame in one of them; ``overlap`` is not used."""
    return mean(frames, window, 0)


def shifted(frames: int, window: int, overlap: int, step: int) -> FusionPlan:
    """Windows that move with every ``step``; a triangle over each window's driving frames, divided by the frame's sum.

    w_j = min((j + 1/2) 2/n, 2 - (j + 1/2) 2/n), j = 0..n-1, for the n driving frames of a window. Each frame is near a
    border at few steps only, so that seams are blended by the steps rather than by a long overlap.
    """
    windows = shifted_windows(frames, window, overlap, step)
    share = np.zeros((len(windows), frames))
    for index, members in enumerate(windows):
        share[index, list(members[1:])] = triangle(len(members) - 1)
    return _plan(frames, windows, share)


FUSIONS: dict[str, Callable[[int, int, int], FusionPlan]] = {
    "progressive": progressive,
    "released": released,
    "mean": mean,
    "none": none,
}
"""Strategies whose windows stay where they are, by name."""

MOVING_FUSIONS: dict[str, Callable[[int, int, int, int], FusionPlan]] = {"shifted": shifted}
"""Strategies whose windows depend on the step, by name."""


def step_plans(fusion: str, frames: int, window: int, overlap: int, steps: int) -> tuple[FusionPlan, ...]:
    """The windows and weights of every step. Raises ``KeyError`` for a name that is no strategy's."""
    if fusion in MOVING_FUSIONS:
        return tuple(MOVING_FUSIONS[fusion](frames, window, overlap, step) for step in range(steps))
    return (FUSIONS[fusion](frames, window, overlap),) * steps


def triangle(length: int) -> np.ndarray:
    """Weight of each position of a window of ``length`` frames, (length,) float64, before normalisation."""
    rising = (np.arange(length) + 0.5) * 2 / length
    return np.minimum(rising, 2 - rising)


def _plan(frames: int, windows: Windows, share: np.ndarray) -> FusionPlan:
    # The reference frame sits in every window at the same place, so it has the same weight everywhere.
    share[:, 0] = 1.0
    share = share / share.sum(axis=0)
    return FusionPlan(frames, windows, tuple(share[i, list(members)] for i, members in enumerate(windows)))
