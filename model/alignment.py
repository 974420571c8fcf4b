"""Driving poses fitted to the person in the reference picture: one scale and one shift for the whole video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.keypoints import RELIABLE, PoseSequence
from model.openpose import BODY, to_openpose
from model.style import Style

# OpenPose body points: nose, neck, shoulders, hips, legs, eyes and ears; not the arms, whose pose is the dance.
FITTED = (0, 1, 2, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)
SCALES = (0.05, 20.0)
"""A scale outside of this range (of heights relative to their pictures) is taken for a failed fit."""
MIN_SPREAD = 0.01
"""Standard deviation of the points' y within their frames, relative to the picture's height, under which a scale is
mostly noise."""


@dataclass(frozen=True)
class Alignment:
    """Driving coordinates to reference coordinates, each divided by the size of its own picture: p * a + b."""

    ax: float
    ay: float
    bx: float
    by: float

    def apply(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) normalised x, y of the driving frames to the same of the reference picture."""
        return points * np.array([self.ax, self.ay]) + np.array([self.bx, self.by])


def fit_alignment(
    driving: np.ndarray,
    reference: np.ndarray,
    frames: np.ndarray,
    driving_size: tuple[float, float],
    reference_size: tuple[float, float],
    style: Style = "default",
) -> Alignment:
    """The fit of ``driving`` (N, 2), points of ``frames`` (N,), to ``reference`` (N, 2).

    Points are normalised, sizes are (width, height). Scale and shift of y are those of a least-squares line; the x
    scale follows from it, so that the scale is the same on both axes in pixels; the x shift is the mean difference.

    "released" fits the line to all points at once, as released. Who moves up and down in front of a reference that does
    not is then made smaller: the less of the person is seen, the more. "default" fits the scale to how points lie
    within their frames.

    Raises ``ValueError``, naming the cause, when the points do not determine a sound fit: fewer than two, almost no
    spread in y within frames, a scale outside of ``SCALES``, or values that are not finite.
    """
    if len(driving) < 2:
        raise ValueError("fewer than 2 points to fit")
    if not (np.isfinite(driving).all() and np.isfinite(reference).all()):
        raise ValueError("points to fit that are not finite")
    x, y = driving.astype(np.float64).T
    reference_x, reference_y = reference.astype(np.float64).T
    within = _within(y, frames)
    if within.std() < MIN_SPREAD:
        raise ValueError("points to fit that are all at one height")
    if style == "default":
        ay = float(np.mean(within * _within(reference_y, frames)) / within.var())
    else:
        ay = float(np.mean((y - y.mean()) * (reference_y - reference_y.mean())) / y.var())
    if not SCALES[0] <= ay <= SCALES[1]:
        raise ValueError(f"a fitted scale of {ay:.3g}, expected {SCALES[0]} to {SCALES[1]}")
    by = float(reference_y.mean() - ay * y.mean())
    ax = ay * _aspect(driving_size) / _aspect(reference_size)
    bx = float(np.mean(reference_x - ax * x))
    return Alignment(ax, ay, bx, by)


def _within(values: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """What each value is more than its frame's mean, which is 0 over all."""
    _, of, counts = np.unique(frames, return_inverse=True, return_counts=True)
    return np.asarray(values - (np.bincount(of, values) / counts)[of])


def contain(driving_size: tuple[float, float], reference_size: tuple[float, float]) -> Alignment:
    """The whole driving frame, undistorted and as big as fits, in the middle of the reference picture.

    Sizes are (width, height).
    """
    ratio = _aspect(driving_size) / _aspect(reference_size)
    ax, ay = min(1.0, ratio), min(1.0, 1 / ratio)
    return Alignment(ax, ay, (1 - ax) / 2, (1 - ay) / 2)


def align_to_reference(
    driving: PoseSequence, reference: PoseSequence, style: Style = "default"
) -> tuple[PoseSequence, str | None]:
    """The driving poses in pixels of the reference picture, and why the fit is not the regular one, if it is not.

    ``reference`` is one frame, the pose in the reference picture; nobody seen there is ``PoseSequence.empty(1, w, h)``.
    The fit uses the points that are reliable in the reference, in the driving frames that show one person only. If
    these do not determine a fit, all frames that show the followed person are tried, and then the driving frame is
    put in the middle of the reference picture (``contain``); the second value then says so and is worth a warning.

    "released" fits to driving points of any score, as released; "default" to those that are reliable, and as
    ``fit_alignment`` says.

    Raises ``ValueError`` when ``reference`` is not one frame.
    """
    if len(reference) != 1:
        raise ValueError(f"the reference pose has {len(reference)} frames, expected 1")
    driving_size, reference_size = (driving.width, driving.height), (reference.width, reference.height)
    points, scores = _fitted_points(driving)
    (target,), (target_scores,) = _fitted_points(reference)
    paired = np.broadcast_to(target_scores > RELIABLE, scores.shape)
    if style == "default":
        paired = paired & (scores > RELIABLE)

    def fit(frames: np.ndarray) -> Alignment:
        used = paired & frames[:, None]
        of_frame, _ = used.nonzero()
        targets = np.broadcast_to(target, points.shape)[used]
        return fit_alignment(points[used], targets, of_frame, driving_size, reference_size, style)

    reason = None
    try:
        alignment = fit(driving.seen & (driving.people == 1))
    except ValueError as alone:
        try:
            alignment = fit(driving.seen)
            reason = f"frames with other people used for the fit: those with one person alone give {alone}"
        except ValueError as any_frame:
            alignment = contain(driving_size, reference_size)
            reason = f"driving frame centred in the reference picture instead of a fit to its person: {any_frame}"
    return driving.moved(
        lambda points: alignment.apply(points / driving_size) * reference_size, reference.width, reference.height
    ), reason


def _fitted_points(sequence: PoseSequence) -> tuple[np.ndarray, np.ndarray]:
    """(T, 14, 2) normalised points to fit and their scores (T, 14)."""
    points, scores = to_openpose(sequence.keypoints, sequence.scores)
    size = np.array([sequence.width, sequence.height], np.float64)
    return points[:, BODY][:, FITTED] / size, scores[:, BODY][:, FITTED]


def _aspect(size: tuple[float, float]) -> float:
    return size[0] / size[1]
