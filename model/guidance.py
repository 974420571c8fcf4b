"""Poses drawn as guidance images, the detector's confidence as luminance (paper section 3.2; drawn as released)."""

from __future__ import annotations

import colorsys
import itertools
import math
import sys
from collections.abc import Iterator
from fractions import Fraction

import cv2
import numpy as np

from model.keypoints import RELIABLE, PoseSequence
from model.openpose import DrawnPeople, drawn_people

CANVAS_SHORT_SIDE = 2160
"""People are drawn at this size and the drawing is reduced, so lines are equally thick at every output size."""

_MOST_REDUCED = CANVAS_SHORT_SIDE / 576

_LIMB_HALF_WIDTH = 4
_LIMB_LUMINANCE = 0.6
_BODY_RADIUS = 4
_HAND_RADIUS = 4
_FACE_RADIUS = 3
_BONE_THICKNESS = 2
# In canvas sizes: no estimate lies that far out, and OpenCV's fixed-point arithmetic is safe up to there.
_FAR = 16
# Every colour is saturated long before, and products of two such scores stay finite.
_HIGHEST_SCORE = 1000.0
# Left, top, right, bottom of the box that holds nothing.
_NOWHERE = (sys.maxsize, sys.maxsize, 0, 0)

# Indices of the 18 body points, in drawing order; colours are RGB, which is the released table read backwards.
# fmt: off
_LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)
_BODY_COLOURS = (
    (0, 0, 255), (0, 85, 255), (0, 170, 255), (0, 255, 255), (0, 255, 170), (0, 255, 85), (0, 255, 0), (85, 255, 0),
    (170, 255, 0), (255, 255, 0), (255, 170, 0), (255, 85, 0), (255, 0, 0), (255, 0, 85), (255, 0, 170), (255, 0, 255),
    (170, 0, 255), (85, 0, 255),
)
# fmt: on
_FINGERS = tuple((0, first, first + 1, first + 2, first + 3) for first in (1, 5, 9, 13, 17))
_BONES = tuple(bone for finger in _FINGERS for bone in itertools.pairwise(finger))
_BONE_COLOURS = tuple(colorsys.hsv_to_rgb(i / len(_BONES), 1.0, 1.0)[::-1] for i in range(len(_BONES)))


def canvas_short_side(height: int, width: int) -> int:
    """The canvas for a guidance image of this size: the released one, or a smaller one for small images.

    The drawing is reduced without antialiasing. At the released 576 pixels that leaves lines two pixels wide; far below
    it lines fall between the pixels that are looked at, and hands and faces vanish.
    """
    return min(CANVAS_SHORT_SIDE, round(_MOST_REDUCED * min(height, width)))


def draw_guidance(people: DrawnPeople, height: int, width: int, canvas: int = CANVAS_SHORT_SIDE) -> np.ndarray:
    """One frame's people drawn on black: (height, width, 3) uint8 RGB, byte for byte as released.

    Limbs need both scores at 0.3 or more, body dots what ``body_valid`` says; hands and faces are drawn at any score.
    ``canvas`` is the short side of what they are drawn on. Scores above 1 saturate. A point that is not finite or is
    absurdly far away is left out, with the lines that end in it.
    """
    return _Canvas(height, width, canvas).draw(people)


def draw_pose_sequence(
    sequence: PoseSequence, height: int, width: int, canvas: int = CANVAS_SHORT_SIDE
) -> Iterator[np.ndarray]:
    """The guidance image of each frame, (height, width, 3) uint8 RGB; black where the person is not seen.

    The sequence's own picture is stretched onto the image. A keypoint with score 0 was not found and is not drawn.
    """
    drawing = _Canvas(height, width, canvas)
    for keypoints, scores in zip(sequence.keypoints, sequence.scores, strict=True):
        found = np.where(scores[:, None] > 0, keypoints, np.nan)
        yield drawing.draw(drawn_people(found[None], scores[None], sequence.width, sequence.height))


class _Canvas:
    """A big black picture, used again for every frame, and the box in it that has been drawn on."""

    def __init__(self, height: int, width: int, short_side: int) -> None:
        scale = short_side / min(height, width)
        self._height, self._width = height, width
        self._pixels = np.zeros((int(height * scale), int(width * scale), 3), np.uint8)
        self._box = _NOWHERE

    def draw(self, people: DrawnPeople) -> np.ndarray:
        self._draw_body(people)
        # The left hands of all people come before the right ones: where hands overlap, the order shows.
        for side in (0, 1):
            for points, scores in zip(people.hands[:, side], people.hand_scores[:, side], strict=True):
                self._draw_hand(points, scores)
        for points, scores in zip(people.faces, people.face_scores, strict=True):
            self._draw_face(points, scores)
        return self._take()

    def _draw_body(self, people: DrawnPeople) -> None:
        pixels, point_scores, drawable = self._locate(people.body, people.body_scores)
        positions, scores = pixels.tolist(), point_scores.tolist()
        linked = (drawable & (point_scores >= RELIABLE)).tolist()
        for (a, b), base in zip(_LIMBS, _BODY_COLOURS, strict=False):
            for position, score, link in zip(positions, scores, linked, strict=True):
                if link[a] and link[b]:
                    limb = _limb(*position[a], *position[b])
                    self._mark(limb, 1)
                    # Released code dims the canvas once all limbs are on it: the same as drawing each limb dim.
                    colour = [int(_LIMB_LUMINANCE * _level(c * score[a] * score[b])) for c in base]
                    cv2.fillConvexPoly(self._pixels, limb, colour)
        whole = pixels.astype(np.int32)
        dotted = drawable & people.body_valid
        self._mark(whole[dotted], _BODY_RADIUS)
        centres, dots = whole.tolist(), dotted.tolist()
        for i, base in enumerate(_BODY_COLOURS):
            for centre, score, dot in zip(centres, scores, dots, strict=True):
                if dot[i]:
                    colour = [_level(c * score[i]) for c in base]
                    cv2.circle(self._pixels, centre[i], _BODY_RADIUS, colour, cv2.FILLED)

    def _draw_hand(self, points: np.ndarray, point_scores: np.ndarray) -> None:
        centres, scores, visible = self._locate_dots(points, point_scores, _HAND_RADIUS)
        for (a, b), base in zip(_BONES, _BONE_COLOURS, strict=True):
            if visible[a] and visible[b]:
                strength = int(scores[a] * scores[b] * 255)
                colour = [min(255.0, c * strength) for c in base]
                cv2.line(self._pixels, centres[a], centres[b], colour, _BONE_THICKNESS)
        for centre, score, seen in zip(centres, scores, visible, strict=True):
            if seen:
                cv2.circle(self._pixels, centre, _HAND_RADIUS, (_level(score * 255), 0, 0), cv2.FILLED)

    def _draw_face(self, points: np.ndarray, point_scores: np.ndarray) -> None:
        for centre, score, seen in zip(*self._locate_dots(points, point_scores, _FACE_RADIUS), strict=True):
            if seen:
                cv2.circle(self._pixels, centre, _FACE_RADIUS, [_level(score * 255)] * 3, cv2.FILLED)

    def _locate(self, points: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Normalised (..., 2) points in canvas pixels, (...) scores in a safe range, (...) bool: fit to be drawn."""
        height, width = self._pixels.shape[:2]
        pixels = points * np.array([width, height], np.float64)
        drawable = (np.abs(pixels) < _FAR * max(height, width)).all(axis=-1) & np.isfinite(scores)
        pixels = np.where(drawable[..., None], pixels, 0.0)
        return pixels, np.where(drawable, scores, 0.0).clip(-_HIGHEST_SCORE, _HIGHEST_SCORE), drawable

    def _locate_dots(
        self, points: np.ndarray, scores: np.ndarray, radius: int
    ) -> tuple[list[list[int]], list[float], list[bool]]:
        """Whole pixels, scores and visibility of hand or face points: above or left of pixel 1 they are left out."""
        pixels, safe_scores, drawable = self._locate(points, scores)
        centres = pixels.astype(np.int32)
        visible = drawable & (centres >= 1).all(axis=-1)
        self._mark(centres[visible], radius)
        return centres.tolist(), safe_scores.tolist(), visible.tolist()

    def _mark(self, points: np.ndarray, margin: int) -> None:
        """Everything within ``margin`` pixels of the (N, 2) int32 points may hold colour from now on."""
        if len(points):
            x, y, width, height = cv2.boundingRect(points)
            left, top, right, bottom = self._box
            self._box = (
                min(left, x - margin),
                min(top, y - margin),
                max(right, x + width + margin),
                max(bottom, y + height + margin),
            )

    def _take(self) -> np.ndarray:
        """The drawing at the wanted size, bilinear; the canvas is black again. Only what may hold colour is read."""
        image = np.zeros((self._height, self._width, 3), np.uint8)
        left, top, right, bottom = self._box
        rows, image_rows = _resized_span(top, bottom, self._pixels.shape[0], self._height)
        columns, image_columns = _resized_span(left, right, self._pixels.shape[1], self._width)
        drawing = self._pixels[rows, columns]
        if drawing.size:
            size = (image_columns.stop - image_columns.start, image_rows.stop - image_rows.start)
            image[image_rows, image_columns] = cv2.resize(drawing, size, interpolation=cv2.INTER_LINEAR)
            drawing[:] = 0
        self._box = _NOWHERE
        return image


def _resized_span(start: int, stop: int, length: int, out_length: int) -> tuple[slice, slice]:
    """The part of an axis to resize on its own, and where it goes, when only start..stop-1 can hold colour.

    Resizing repeats itself every ``period`` pixels, which become ``out_period``. Resizing a block of whole periods
    gives the very bytes that resizing everything gives if the picture shrinks, so that no block reads its neighbour,
    and if the sampling positions are exact in float32, so that they are alike in all blocks. Else all is resized.
    """
    start, stop = max(start, 0), min(stop, length)
    if start >= stop:
        return slice(0, 0), slice(0, 0)
    ratio = Fraction(length, out_length)
    period, out_period = ratio.numerator, ratio.denominator
    exact = out_period & (out_period - 1) == 0 and 2 * out_period * length <= 2**24
    if ratio < 1 or not exact:
        return slice(0, length), slice(0, out_length)
    first, last = start // period, (stop - 1) // period + 1
    return slice(first * period, last * period), slice(first * out_period, last * out_period)


def _limb(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Corners (N, 2) int32 of the thin ellipse from one point to the other."""
    length = ((x0 - x1) ** 2 + (y0 - y1) ** 2) ** 0.5
    centre = (int((x0 + x1) / 2), int((y0 + y1) / 2))
    angle = int(math.degrees(math.atan2(y0 - y1, x0 - x1)))
    return np.asarray(cv2.ellipse2Poly(centre, (int(length / 2), _LIMB_HALF_WIDTH), angle, 0, 360, 1))


def _level(value: float) -> int:
    """A colour value cut off to a whole number in 0..255."""
    return int(min(255.0, max(0.0, value)))
