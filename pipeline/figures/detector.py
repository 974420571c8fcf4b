"""What a pose detector makes of a figure: where it thinks the keypoints are, and how sure it is."""

from __future__ import annotations

import numpy as np

from model.keypoints import BODY, FACE, FEET, HANDS, NUM_KEYPOINTS, PoseSequence
from model.mirroring import MIRROR
from pipeline.figures.skeleton import body_scale

_SURE, _UNSURE = 0.008, 0.09
"""Deviation of the jitter in torso lengths at score 1 and at score 0."""

_WRISTS = {"left": 9, "right": 10}


def detect(rng: np.random.Generator, keypoints: np.ndarray, height: int, width: int) -> PoseSequence:
    """The poses of (T, 133, 2) exact keypoints, in pixels of a ``height`` x ``width`` picture, as reported.

    The less sure it is the more it jitters. Spells of doubt come and go; hands get lost, the sooner the faster they
    move; what is out of the picture is guessed at. Now and then left and right are swapped, and now and then a limb is
    put elsewhere with full confidence.
    """
    frames = len(keypoints)
    scale = body_scale(keypoints)
    found = keypoints.astype(np.float64).copy()
    scores = np.empty((frames, NUM_KEYPOINTS))
    scores[:, BODY] = rng.uniform(0.85, 0.98) - np.abs(_smooth(rng, frames, 17, 5)) * 0.06
    scores[:, FEET] = rng.uniform(0.75, 0.95) - np.abs(_smooth(rng, frames, 6, 5)) * 0.08
    scores[:, FACE] = rng.uniform(0.75, 0.97) - np.abs(_smooth(rng, frames, 1, 5)) * 0.08

    for joints in ((7, 9), (8, 10), (13, 15), (14, 16)):
        for start, stop in _spells(rng, frames, 0.06, 6):
            scores[start:stop, list(joints)] *= rng.uniform(0.1, 0.6)
    across = (keypoints[:, 5, 0] - keypoints[:, 6, 0]) / scale
    # Turned sideways or away, the far side and the face are guessed.
    turned = np.clip((0.35 - across) / 0.5, 0, 1)
    scores[:, FACE] *= (1 - 0.85 * turned)[:, None]
    scores[:, (3, 4)] *= (1 - 0.5 * turned)[:, None]

    for side, points in HANDS.items():
        wrist = _WRISTS[side]
        moved = np.linalg.norm(np.diff(keypoints[:, wrist], axis=0, prepend=keypoints[:1, wrist]), axis=1) / scale
        presence = rng.uniform(0.75, 0.99) - np.abs(_smooth(rng, frames, 1, 4)[:, 0]) * 0.12
        presence *= np.clip(1.25 - moved, 0.2, 1)
        for start, stop in _spells(rng, frames, 0.15, 8):
            presence[start:stop] = 0 if rng.random() < 0.7 else 0.2
        presence[presence < 0.25] = 0
        scores[:, points] = (presence * scores[:, wrist])[:, None]

    outside = (keypoints < 0).any(axis=-1) | (keypoints > [width, height]).any(axis=-1)
    scores[outside] *= 0.25
    scores = scores.clip(0, 1)

    deviation = scale * (_SURE + (_UNSURE - _SURE) * (1 - scores) ** 2)
    wobble = 0.7 * _smooth(rng, frames, NUM_KEYPOINTS * 2, 3) + 0.5 * rng.standard_normal((frames, NUM_KEYPOINTS * 2))
    for points in (FACE, *HANDS.values()):
        # A hand or a face is off as a whole, its points among each other less.
        together = 0.8 * _smooth(rng, frames, 2, 3)
        own = wobble.reshape(frames, NUM_KEYPOINTS, 2)
        own[:, points] = together[:, None] + 0.4 * own[:, points]
    found += wobble.reshape(frames, NUM_KEYPOINTS, 2) * deviation[..., None]

    for start, stop in _spells(rng, frames, 0.015, 4):
        found[start:stop, 5:17] = found[start:stop][:, MIRROR[5:17]]
        scores[start:stop, 5:17] *= rng.uniform(0.4, 0.8)
    for start, stop in _spells(rng, frames, 0.01, 4):
        joint = int(rng.choice((7, 8, 9, 10, 13, 14, 15, 16)))
        found[start:stop, joint] += rng.normal(0, 0.5 * scale, 2)

    return _sequence(found, scores, height, width)


def _sequence(found: np.ndarray, scores: np.ndarray, height: int, width: int) -> PoseSequence:
    low, high = found[:, BODY].min(axis=1), found[:, BODY].max(axis=1)
    boxes = np.concatenate([low, high], axis=1).clip(0, [width, height, width, height])
    return PoseSequence(
        found.astype(np.float32),
        scores.astype(np.float32),
        boxes.astype(np.float32),
        scores[:, BODY].mean(axis=1).astype(np.float32),
        np.ones(len(found), np.int32),
        width,
        height,
    )


def _spells(rng: np.random.Generator, frames: int, share: float, length: int) -> list[tuple[int, int]]:
    """Stretches (start, stop) of about ``length`` frames that make up about ``share`` of all frames."""
    count = rng.poisson(share * frames / length)
    starts = rng.integers(-length + 1, frames, count)
    lengths = rng.integers(max(1, length // 2), 2 * length, count)
    return [(max(0, int(a)), int(a + b)) for a, b in zip(starts, lengths, strict=True) if a + b > 0]


def _smooth(rng: np.random.Generator, frames: int, curves: int, length: int) -> np.ndarray:
    """(T, curves) of unit deviation, each changing over about ``length`` frames."""
    taps = np.hanning(2 * length + 3)[1:-1]
    taps /= np.sqrt((taps**2).sum())
    white = rng.standard_normal((frames + len(taps) - 1, curves))
    return np.stack([np.convolve(white[:, curve], taps, "valid") for curve in range(curves)], axis=1)
