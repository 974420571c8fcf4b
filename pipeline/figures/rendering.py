"""A figure drawn from its keypoints alone, so that whatever moves, what should come out can be rendered."""

from __future__ import annotations

import cv2
import numpy as np

from model.keypoints import FACE, LEFT_HAND, RIGHT_HAND
from pipeline.figures.appearance import Appearance, Colour
from pipeline.figures.backdrop import backdrop
from pipeline.figures.canvas import Canvas

_FINER = 4
"""Drawn at this many times the size and averaged: figures move by parts of a pixel."""

_FINGERS = tuple((0, first, first + 1, first + 2, first + 3) for first in (1, 5, 9, 13, 17))


class FigureRenderer:
    """One figure in one place. Frames of ``height`` x ``width``; ``scale`` is what ``body_scale`` gives."""

    def __init__(self, appearance: Appearance, scale: float, height: int, width: int) -> None:
        self._look, self._scale = appearance, scale * _FINER
        self._height, self._width = height, width
        self._place = backdrop(appearance, height * _FINER, width * _FINER)

    def frame(self, keypoints: np.ndarray) -> np.ndarray:
        """(133, 2) pixels to (H, W, 3) uint8 RGB."""
        page = self._place.copy()
        self._canvas = Canvas(page)
        # Pixel centres: what lies at x is drawn around the finer pixels that make up x.
        points = (keypoints.astype(np.float64) + 0.5) * _FINER - 0.5
        self._draw(np.clip(points, -4 * self._width * _FINER, 5 * self._width * _FINER))
        return cv2.resize(page, (self._width, self._height), interpolation=cv2.INTER_AREA)

    def background(self) -> np.ndarray:
        """The place without the figure, (H, W, 3) uint8 RGB."""
        return cv2.resize(self._place, (self._width, self._height), interpolation=cv2.INTER_AREA)

    def _draw(self, p: np.ndarray) -> None:
        # Seen from behind, the left shoulder is on the left; a little before that nothing changes yet.
        behind = bool(p[5, 0] < p[6, 0] - 0.1 * self._scale)
        if behind:
            for side in (0, 1):
                self._arm(p, side)
        elif self._look.cut == "long":
            self._hair_behind(p)
        for side in (1, 0):
            self._leg(p, side)
        self._torso(p)
        self._neck(p)
        self._head(p, behind)
        if not behind:
            for side in (1, 0):
                self._arm(p, side)

    def _leg(self, p: np.ndarray, side: int) -> None:
        look, hip, knee, ankle = self._look, p[11 + side], p[13 + side], p[15 + side]
        thick, thin = look.leg_width * self._scale, 0.6 * look.leg_width * self._scale
        skin, cloth = self._lit(look.skin, side), self._lit(look.legs, side)
        shoe, foot = self._lit(look.shoes, side), p[17 + 3 * side : 20 + 3 * side]
        self._canvas.taper(knee, ankle, 0.8 * thick, thin, cloth if look.legwear == "trousers" else skin)
        self._canvas.taper(hip, knee, thick, 0.8 * thick, skin if look.legwear == "skirt" else cloth)
        toe = 0.5 * (foot[0] + foot[1])
        self._canvas.taper(foot[2], toe, 0.75 * thin, 0.6 * thin, shoe)
        self._canvas.taper(ankle, foot[2], 0.8 * thin, 0.75 * thin, shoe)

    def _torso(self, p: np.ndarray) -> None:
        look, left, right = self._look, p[5], p[6]
        width = look.torso_width
        middle, hips = 0.5 * (left + right), 0.5 * (p[11] + p[12])
        down = hips - middle
        shoulder, hip = 0.5 * (left - right), 0.5 * (p[11] - p[12])
        # From the side a torso still has some depth.
        shoulder = _at_least(shoulder, 0.18 * self._scale)
        hip = _at_least(hip * 1.35, 0.2 * self._scale)
        if look.legwear == "skirt":
            low = 0.5 * (p[13] + p[14])
            flare = _at_least(0.62 * (p[13] - p[14]), 0.36 * self._scale)
            reach = hips + 0.72 * (low - hips)
            self._canvas.polygon([hips - hip, hips + hip, reach + flare, reach - flare], self._lit(look.legs, None))
        chest = middle + 0.05 * down
        waist = chest + 0.5 * down
        collar = middle - 0.06 * down
        outline = [
            collar + 0.75 * shoulder,
            middle + 1.08 * width * shoulder,
            waist + 0.9 * width * hip,
            hips + hip,
            hips + 0.12 * down,
            hips - hip,
            waist - 0.9 * width * hip,
            middle - 1.08 * width * shoulder,
            collar - 0.75 * shoulder,
        ]
        shirt = self._lit(look.shirt, None)
        self._canvas.polygon(outline, shirt)
        second = self._lit(look.second, None)
        if look.pattern == "stripes":
            for at in (0.2, 0.45, 0.7):
                self._across(middle, down, shoulder, hip, at, at + 0.12, second)
        elif look.pattern == "band":
            self._across(middle, down, shoulder, hip, 0.35, 0.6, second)
        elif look.pattern == "blob":
            self._canvas.disc(middle + 0.4 * down, 0.17 * self._scale, second)

    def _across(
        self,
        middle: np.ndarray,
        down: np.ndarray,
        top: np.ndarray,
        low: np.ndarray,
        start: float,
        stop: float,
        colour: Colour,
    ) -> None:
        width = self._look.torso_width
        wide = [(middle + at * down, 0.95 * width * (1 - at) * top + 0.92 * width * at * low) for at in (start, stop)]
        (a, left), (b, right) = wide
        self._canvas.polygon([a - left, a + left, b + right, b - right], colour)

    def _neck(self, p: np.ndarray) -> None:
        middle, head = 0.5 * (p[5] + p[6]), self._skull(p)[0]
        width = 0.2 * self._scale
        self._canvas.taper(middle, middle + 0.55 * (head - middle), width, 0.9 * width, _shade(self._look.skin, 0.85))

    def _skull(self, p: np.ndarray) -> tuple[np.ndarray, float, float]:
        """Centre, half its height, and how it is tilted in degrees."""
        eyes, ears, neck = p[1:3].mean(axis=0), p[3:5].mean(axis=0), 0.5 * (p[5] + p[6])
        centre = 0.35 * eyes + 0.65 * ears
        rise = centre - neck
        across = p[3] - p[4]
        tilt = np.degrees(np.arctan2(across[1], across[0])) if across[0] > 0.1 * self._scale else 0.0
        if across[0] < -0.1 * self._scale:
            tilt = np.degrees(np.arctan2(-across[1], -across[0]))
        half = 0.27 * self._look.head_size * self._scale
        return centre - 0.06 * rise / max(1.0, float(np.linalg.norm(rise))) * self._scale, half, float(tilt)

    def _head(self, p: np.ndarray, behind: bool) -> None:
        look, (centre, half, tilt) = self._look, self._skull(p)
        skin, hair = self._lit(look.skin, None), self._lit(look.hair, None)
        if look.cut == "bun":
            up = centre - 0.5 * (p[5] + p[6])
            self._canvas.disc(centre + 1.2 * half * up / max(1.0, float(np.linalg.norm(up))), 0.42 * half, hair)
        if look.cut != "bald":
            self._canvas.ellipse(centre, 0.86 * half, 1.04 * half, tilt, hair)
        if behind:
            self._canvas.ellipse(centre, 0.8 * half, half, tilt, skin if look.cut == "bald" else hair)
            if look.cut == "long":
                self._hair_behind(p)
            return
        face = p[FACE]
        towards = 0.35 * (face[30] - centre)
        lower = centre + 0.16 * half * np.array([-np.sin(np.radians(tilt)), np.cos(np.radians(tilt))])
        self._canvas.ellipse(lower + 0.5 * towards, 0.72 * half, 0.88 * half, tilt, skin)
        for eye in (face[36:42], face[42:48]):
            self._canvas.ellipse(eye.mean(axis=0), 0.17 * half, 0.12 * half, tilt, (250, 250, 250))
            self._canvas.disc(eye.mean(axis=0), 0.09 * half, (30, 25, 25))
        brow = _shade(look.hair, 0.7)
        for points in (face[17:22], face[22:27]):
            self._canvas.line(points[[0, 2, 4]], 0.09 * half, brow)
        self._canvas.line(face[[27, 30, 33]], 0.1 * half, _shade(look.skin, 0.72))
        self._canvas.polygon(face[48:60], (176, 52, 60))
        self._canvas.polygon(face[60:68], (90, 16, 24))

    def _hair_behind(self, p: np.ndarray) -> None:
        centre, half, tilt = self._skull(p)
        middle = 0.5 * (p[5] + p[6])
        self._canvas.ellipse(
            centre + 0.35 * (middle - centre), 0.98 * half, 1.35 * half, tilt, self._lit(self._look.hair, None)
        )

    def _arm(self, p: np.ndarray, side: int) -> None:
        look, shoulder, elbow, wrist = self._look, p[5 + side], p[7 + side], p[9 + side]
        width = look.arm_width * self._scale
        skin = self._lit(look.skin, side)
        cloth = self._lit(look.shirt, side)
        cloth = _shade(cloth, 0.9)
        self._hand(p[LEFT_HAND if side == 0 else RIGHT_HAND], wrist, skin)
        self._canvas.taper(elbow, wrist, 0.85 * width, 0.62 * width, cloth if look.sleeves == "long" else skin)
        self._canvas.taper(shoulder, elbow, width, 0.85 * width, skin if look.sleeves == "none" else cloth)
        if look.sleeves == "short":
            self._canvas.taper(shoulder + 0.6 * (elbow - shoulder), elbow, 0.86 * width, 0.86 * width, skin)

    def _hand(self, hand: np.ndarray, wrist: np.ndarray, skin: Colour) -> None:
        width = 0.055 * self._scale
        self._canvas.polygon([hand[0], hand[1], hand[5], hand[9], hand[13], hand[17]], skin)
        self._canvas.taper(wrist, hand[0], 1.8 * width, 1.8 * width, skin)
        self._canvas.line(hand[[0, 5, 9, 13, 17, 0]], 1.3 * width, skin)
        for number, finger in enumerate(_FINGERS):
            self._canvas.line(
                hand[list(finger[1:])],
                width * (1.15 if number == 0 else 1.0),
                _shade(skin, 0.93 + 0.035 * (number % 3)),
            )

    def _lit(self, colour: Colour, side: int | None) -> Colour:
        """Light comes from one side: the person's left limbs are on the right."""
        if side is None:
            return colour
        return _shade(colour, 1 - self._look.light * (1 if side == 0 else -1) * 0.6)


def _at_least(vector: np.ndarray, length: float) -> np.ndarray:
    """The vector, no shorter than ``length``; one that has no direction lies across the picture."""
    found = float(np.linalg.norm(vector))
    if found >= length:
        return vector
    return np.array([length, 0.0]) if found < 1e-6 else vector * (length / found)


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255.0, factor * level) for level in colour)
    return red, green, blue
