"""Motion that is made up: joints that swing smoothly, as in a dance, and the 133 keypoints that come of it."""

from __future__ import annotations

import numpy as np

from model.keypoints import FACE, LEFT_HAND, NUM_KEYPOINTS, RIGHT_HAND
from pipeline.figures.skeleton import face_template, hand_template

FPS = 8.0

_SIDES = (1.0, -1.0)


def generated_motion(rng: np.random.Generator, frames: int) -> np.ndarray:
    """``frames`` frames of somebody moving, 8 a second: exact keypoints (T, 133, 2) float32, torso lengths, y down.

    Proportions are the person's own. Most face the camera within 50 degrees; one in twenty turns further.
    """
    swing = _Swing(rng, frames)
    turn = swing.of(0.0, 1.6 if rng.random() < 0.05 else rng.uniform(0.1, 0.6), 0.25)
    lean, sway = swing.of(0.0, 0.16, 0.5), swing.of(0.0, 0.12, 0.5)
    neck = np.zeros((frames, 3))
    hip = np.zeros((frames, 3))
    hip[:, 0], hip[:, 1] = swing.of(0.0, 0.15, 0.4), swing.of(0.0, 0.05, 0.8)
    up = np.stack([np.sin(sway), -np.cos(sway) * np.cos(lean), np.sin(lean)], axis=1)
    neck = hip + up
    shoulders, hips = rng.uniform(0.33, 0.42), rng.uniform(0.16, 0.22)
    upper_arm, forearm = rng.uniform(0.52, 0.62), rng.uniform(0.46, 0.56)
    thigh, shin = rng.uniform(0.78, 0.92), rng.uniform(0.75, 0.9)
    across = np.stack([np.cos(turn), np.zeros(frames), -np.sin(turn)], axis=1)
    front = np.stack([np.sin(turn), np.zeros(frames), np.cos(turn)], axis=1)
    points = np.zeros((frames, NUM_KEYPOINTS, 3))
    energy = rng.uniform(0.4, 1.3)

    for number, side in enumerate(_SIDES):
        out = side * across
        shoulder = (
            neck + shoulders * out + np.stack([np.zeros(frames), swing.of(0.05, 0.03, 0.7), np.zeros(frames)], axis=1)
        )
        raised = swing.of(rng.uniform(0.15, 1.3), 0.9 * energy, 0.6).clip(0.05, 2.9)
        forward = swing.of(0.2, 0.6 * energy, 0.5).clip(-0.6, 1.4)
        arm = _direction(raised, forward, out, front)
        elbow = shoulder + upper_arm * arm
        bend = swing.of(rng.uniform(0.3, 1.2), 0.8 * energy, 0.7).clip(0.0, 2.4)
        towards = _unit(0.6 * front - 0.5 * out * np.sin(swing.of(0.0, 1.0, 0.4))[:, None] - 0.8 * np.array([0, 1, 0]))
        lower = _unit(np.cos(bend)[:, None] * arm + np.sin(bend)[:, None] * _square(towards, arm))
        wrist = elbow + forearm * lower
        hip_joint = hip + hips * out
        lift = swing.of(0.1, 0.45 * energy, 0.5).clip(-0.3, 1.6)
        open_ = swing.of(0.12, 0.18 * energy, 0.5).clip(-0.05, 1.2)
        leg = _direction(open_, lift, out, front)
        knee = hip_joint + thigh * leg
        knee_bend = (np.abs(lift) * 0.9 + swing.of(0.1, 0.25 * energy, 0.6)).clip(0.0, 2.0)
        down = _unit(np.cos(knee_bend)[:, None] * leg - np.sin(knee_bend)[:, None] * _square(front, leg))
        ankle = knee + shin * down
        for joint, place in ((5, shoulder), (7, elbow), (9, wrist), (11, hip_joint), (13, knee), (15, ankle)):
            points[:, joint + number] = place
        toe = _unit(front + 0.35 * out + [0, 0.35, 0])
        points[:, 17 + 3 * number] = ankle + 0.3 * toe + [0, 0.1, 0]
        points[:, 18 + 3 * number] = ankle + 0.27 * _unit(toe + 0.4 * out) + [0, 0.1, 0]
        points[:, 19 + 3 * number] = ankle - 0.08 * front + [0, 0.1, 0]
        palm = _square(front * np.cos(swing.of(0, 0.8, 0.3))[:, None] - out * 0.6, lower)
        points[:, LEFT_HAND if number == 0 else RIGHT_HAND] = _hand(swing, rng, wrist, lower, palm, side, 0.19)

    tilt, nod, look = swing.of(0.0, 0.15, 0.5), swing.of(0.05, 0.15, 0.5), turn + swing.of(0.0, 0.35, 0.4)
    width = rng.uniform(0.33, 0.38)
    head = neck + 0.42 * up
    turned = _rotation(look, nod, tilt)
    face = np.einsum("tij,kj->tki", turned, face_template() * width)
    nose = head + np.einsum("tij,j->ti", turned, np.array([0.0, 0.02, 0.2]))
    points[:, FACE] = nose[:, None] + face
    points[:, 0] = nose
    points[:, 1], points[:, 2] = points[:, 23 + 42 : 23 + 48].mean(axis=1), points[:, 23 + 36 : 23 + 42].mean(axis=1)
    for joint, side in ((3, 1.0), (4, -1.0)):
        points[:, joint] = head + np.einsum("tij,j->ti", turned, np.array([side * 0.2, -0.04, -0.02]))
    return points[..., :2].astype(np.float32)


class _Swing:
    """Smooth random curves: a few slow sines each."""

    def __init__(self, rng: np.random.Generator, frames: int) -> None:
        self._rng, self._seconds = rng, np.arange(frames) / FPS

    def of(self, centre: float, amplitude: float, hertz: float) -> np.ndarray:
        """(T,) around ``centre``, mostly within ``amplitude``, no faster than about twice ``hertz``."""
        total = np.full(len(self._seconds), float(centre))
        for harmonic, share in ((0.4, 0.6), (1.0, 0.5), (1.7, 0.25)):
            rate = 2 * np.pi * hertz * harmonic * self._rng.uniform(0.8, 1.2)
            total += amplitude * share * np.sin(rate * self._seconds + self._rng.uniform(0, 2 * np.pi))
        return total


def _direction(sideways: np.ndarray, forward: np.ndarray, out: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Unit vectors (T, 3): hanging down, raised ``sideways`` by an angle, then swung ``forward`` by another."""
    down = np.stack([np.zeros_like(sideways), np.ones_like(sideways), np.zeros_like(sideways)], axis=1)
    raised = np.cos(sideways)[:, None] * down + np.sin(sideways)[:, None] * out
    return _unit(np.cos(forward)[:, None] * raised + np.sin(forward)[:, None] * front)


def _hand(
    swing: _Swing,
    rng: np.random.Generator,
    wrist: np.ndarray,
    along: np.ndarray,
    palm: np.ndarray,
    side: float,
    size: float,
) -> np.ndarray:
    centre = rng.uniform(0.0, 0.6)
    curl = np.stack([swing.of(centre, 0.3, 0.6).clip(0, 1) for _ in range(5)], axis=1)
    hand = hand_template(curl) * size
    thumb = np.cross(along, palm) * side
    return (
        wrist[:, None]
        + hand[..., :1] * thumb[:, None]
        + hand[..., 1:2] * along[:, None]
        + hand[..., 2:] * palm[:, None]
    )


def _rotation(turn: np.ndarray, nod: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    """(T, 3, 3): turned about the vertical, nodding, then tilted in the picture."""
    one, zero = np.ones_like(turn), np.zeros_like(turn)
    about_y = np.stack([np.cos(turn), zero, np.sin(turn), zero, one, zero, -np.sin(turn), zero, np.cos(turn)], axis=1)
    about_x = np.stack([one, zero, zero, zero, np.cos(nod), np.sin(nod), zero, -np.sin(nod), np.cos(nod)], axis=1)
    about_z = np.stack([np.cos(tilt), -np.sin(tilt), zero, np.sin(tilt), np.cos(tilt), zero, zero, zero, one], axis=1)
    y, x, z = (each.reshape(-1, 3, 3) for each in (about_y, about_x, about_z))
    return z @ y @ x


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-6)


def _square(vectors: np.ndarray, to: np.ndarray) -> np.ndarray:
    """The part of ``vectors`` at right angles to unit vectors ``to``, of unit length."""
    return _unit(vectors - (vectors * to).sum(axis=-1, keepdims=True) * to)
