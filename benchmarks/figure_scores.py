"""How near a video comes to the one that should have come out. Videos are (T, H, W, 3) uint8 RGB."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from model.keypoints import HANDS, hand_reliable
from model.training.hand_regions import hand_weights
from model.windows import Windows


def psnr(made: np.ndarray, truth: np.ndarray, region: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB over all frames, or where ``region`` (T, H, W) bool says; infinite if alike.

    Differences are taken in floating point: public scripts let them wrap in uint8. NaN for an empty region.
    """
    squares = (made.astype(np.float64) - truth.astype(np.float64)) ** 2
    error = squares.mean() if region is None else (squares[region].mean() if region.any() else np.nan)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def ssim(made: np.ndarray, truth: np.ndarray) -> float:
    """Mean structural similarity of the frames (Wang et al. 2004: Gaussian windows of deviation 1.5), over colours.

    Only windows that lie in the picture count; the frames are at least 11x11. The figures of scikit-image, which would
    bring SciPy, and with it a second more to every process that imports diffusers.
    """
    return float(np.mean([_ssim(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(made, truth, strict=True)]))


def _ssim(first: np.ndarray, second: np.ndarray) -> float:
    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (11, 11), 1.5)[5:-5, 5:-5]

    same_mean, same_spread = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    means = mean(first), mean(second)
    variances = mean(first**2) - means[0] ** 2, mean(second**2) - means[1] ** 2
    covariance = mean(first * second) - means[0] * means[1]
    luminance = (2 * means[0] * means[1] + same_mean) / (means[0] ** 2 + means[1] ** 2 + same_mean)
    structure = (2 * covariance + same_spread) / (variances[0] + variances[1] + same_spread)
    return float((luminance * structure).mean())


def moving_region(truth: np.ndarray, reference: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Where the figure is, or was in the ``reference`` (H, W, 3): (T, H, W) bool. Elsewhere copying would do."""
    there, was = (np.abs(frames.astype(int) - background).max(axis=-1) > 2 for frames in (truth, reference[None]))
    return np.asarray(there | was)


def hand_region(keypoints: np.ndarray, scores: np.ndarray, height: int, width: int) -> np.ndarray:
    """The boxes of the hands that count in training, in picture pixels: (T, H, W) bool, of (T, 133, 2) keypoints."""
    if not any(hand_reliable(scores, side).any() for side in HANDS):
        return np.zeros((len(keypoints), height, width), bool)
    return hand_weights(keypoints, scores, (height, width), (height, width), weight=2.0) > 1


def joins(windows: Windows) -> list[int]:
    """Driving frames, counted from 0, that lie in other windows than the frame before them."""
    last = max(frame for members in windows for frame in members)
    seen_by = [frozenset(i for i, members in enumerate(windows) if frame in members[1:]) for frame in range(last + 1)]
    return [frame - 1 for frame in range(2, last + 1) if seen_by[frame] != seen_by[frame - 1]]


def seam_score(made: np.ndarray, truth: np.ndarray, at: Sequence[int]) -> float:
    """How much more a video changes where windows join than elsewhere, as a multiple of what the truth does there.

    1 is no seam at all. NaN where there is no join or nothing else.
    """
    changes = [np.abs(np.diff(video.astype(np.float64), axis=0)).mean(axis=(1, 2, 3)) for video in (made, truth)]
    here = np.isin(np.arange(1, len(made)), at)
    if not here.any() or here.all():
        return float("nan")
    own, true = (change[here].mean() / max(change[~here].mean(), 1e-9) for change in changes)
    return float(own / max(true, 1e-9))
