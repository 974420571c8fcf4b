"""A person's 133 keypoints out of joint angles: bones in 3D, seen from the front by a camera far away."""

from __future__ import annotations

import numpy as np


def face_template() -> np.ndarray:
    """The 68 points of a face from the front, (68, 3), z towards the viewer; in COCO-WholeBody's (iBUG's) order.

    In widths of the face from the nose's tip, x to the person's left seen from the front, y down.
    """
    angles = np.linspace(np.pi, 0, 17)
    jaw = np.stack([0.5 * np.cos(angles), 0.62 * np.sin(angles) - 0.08, -0.25 + 0.2 * np.sin(angles)], axis=1)
    brow = np.stack(
        [np.linspace(-0.4, -0.12, 5), -0.34 - 0.06 * np.sin(np.linspace(0.3, 2.6, 5)), np.full(5, 0.05)], axis=1
    )
    other_brow = brow[::-1] * [-1, 1, 1]
    bridge = np.stack([np.zeros(4), np.linspace(-0.22, 0.0, 4), np.linspace(0.05, 0.2, 4)], axis=1)
    base = np.stack([np.linspace(-0.1, 0.1, 5), [0.04, 0.06, 0.07, 0.06, 0.04], [0.05, 0.1, 0.12, 0.1, 0.05]], axis=1)
    around = np.array([np.pi, 2 * np.pi / 3, np.pi / 3, 0, -np.pi / 3, -2 * np.pi / 3])
    eye = np.stack([-0.22 + 0.09 * np.cos(around), -0.2 - 0.045 * np.sin(around), np.full(6, 0.03)], axis=1)
    other_eye = eye + np.array([0.44, 0, 0])
    lips = np.pi - np.arange(12) * np.pi / 6
    outer = np.stack([0.17 * np.cos(lips), 0.27 - 0.065 * np.sin(lips), np.full(12, 0.06)], axis=1)
    inner_angles = np.pi - np.arange(8) * np.pi / 4
    inner = np.stack([0.11 * np.cos(inner_angles), 0.27 - 0.025 * np.sin(inner_angles), np.full(8, 0.06)], axis=1)
    points = np.concatenate([jaw, brow, other_brow, bridge, base, eye, other_eye, outer, inner])
    return points - points[30]


def hand_template(curl: np.ndarray) -> np.ndarray:
    """A left hand's 21 points for ``curl`` (T, 5) in 0..1 a finger: (T, 21, 3).

    From the wrist along y, the thumb towards +x, palm towards -z, in lengths from wrist to middle knuckle.
    """
    frames = len(curl)
    roots = np.array([[0.35, 0.3], [0.28, 0.95], [0.05, 1.0], [-0.16, 0.95], [-0.34, 0.83]])
    spread = np.array([0.75, 0.16, 0.02, -0.1, -0.25])
    bones = np.array([[0.38, 0.3, 0.25], [0.42, 0.26, 0.2], [0.46, 0.3, 0.22], [0.42, 0.28, 0.2], [0.33, 0.2, 0.18]])
    points = np.zeros((frames, 21, 3))
    for finger in range(5):
        place = np.zeros((frames, 3))
        place[:, :2] = roots[finger]
        points[:, 1 + 4 * finger] = place
        for joint in range(3):
            bend = curl[:, finger] * (1.35 if finger else 0.7) * (joint + 1) * 0.8
            along = np.cos(bend)
            direction = np.stack(
                [np.sin(spread[finger]) * along, np.cos(spread[finger]) * along, -np.sin(bend)], axis=1
            )
            place = place + bones[finger, joint] * direction
            points[:, 2 + 4 * finger + joint] = place
    return points


def body_scale(keypoints: np.ndarray) -> float:
    """A torso's length in pixels, out of all frames (T, 133, 2): the most that is seen of it but for outliers.

    Legs speak too, where a torso is always bent towards the camera.
    """
    neck, hip = keypoints[:, (5, 6)].mean(axis=1), keypoints[:, (11, 12)].mean(axis=1)
    torso = np.percentile(np.linalg.norm(neck - hip, axis=1), 80)
    thighs = np.linalg.norm(keypoints[:, (11, 12)] - keypoints[:, (13, 14)], axis=2)
    shins = np.linalg.norm(keypoints[:, (13, 14)] - keypoints[:, (15, 16)], axis=2)
    return float(max(torso, 0.45 * np.percentile(thighs + shins, 80), 1e-3))
