"""The arithmetic around the BlazePose networks: anchors, detections, heat maps and the rotated squares they look at.

Constants and order of steps are those of MediaPipe's graphs ``pose_landmark`` and ``holistic_landmark`` (Apache-2.0).
Points are x then y, in pixels of the frame unless said otherwise; angles are radians, clockwise. What concerns a few
points only is reckoned with plain numbers, which is done sooner than NumPy's calls are made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from model.estimators.tracking import box_ious

Point = Sequence[float]

FINGER_SHIFT = 0.1  # of the side: the points given are of the palm, the fingers reach further
FOREHEAD_SHIFT = 0.1  # of the height: the highest points given are the eyes


class Square(NamedTuple):
    """A rotated square of the frame: centre and side in pixels, angle in radians."""

    x: float
    y: float
    side: float
    angle: float

    def scaled(self, factor: float) -> Square:
        return self._replace(side=self.side * factor)

    def moved_up(self, distance: float) -> Square:
        """Moved along its own upward axis by ``distance`` pixels."""
        return self._replace(x=self.x + distance * math.sin(self.angle), y=self.y - distance * math.cos(self.angle))


class Detection(NamedTuple):
    """``score`` in 0..1 and (K, 2) ``points``."""

    score: float
    points: np.ndarray


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.maximum(logits, -60)))


def cut_out(frame: np.ndarray, square: Square, size: int, border: int) -> tuple[np.ndarray, np.ndarray]:
    """A square as a picture (``size``, ``size``, 3) uint8, and the (2, 3) affine map from its pixels to the frame's.

    ``frame`` is (H, W, 4) uint8, the fourth channel unread: OpenCV turns four channels in half the time of three.
    """
    scale = square.side / size
    cos, sin = math.cos(square.angle) * scale, math.sin(square.angle) * scale
    half = size / 2
    to_frame = np.array(
        [[cos, -sin, square.x - (cos - sin) * half], [sin, cos, square.y - (sin + cos) * half]], np.float64
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    picture = cv2.warpAffine(frame, to_frame, (size, size), flags=flags, borderMode=border)
    return cv2.cvtColor(picture, cv2.COLOR_RGBA2RGB), to_frame


def carry(to_frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, 2) points of a picture that ``cut_out`` made, in the frame, float64."""
    return cv2.transform(points.astype(np.float64)[None], to_frame)[0]


def search_squares(width: int, height: int) -> list[Square]:
    """Where the person detector looks in a frame: at the whole, then along it in squares that overlap by half.

    The detector sees its square at 224 pixels and misses people who are small in it. A frame hardly longer than wide
    is looked at once.
    """
    short, long = sorted((width, height))
    whole = Square(width / 2, height / 2, long, 0)
    if long < 1.2 * short:
        return [whole]
    steps = math.ceil((long - short) / (short / 2))
    centres = np.linspace(short / 2, long - short / 2, steps + 1)
    if width > height:
        return [whole, *(Square(float(x), height / 2, short, 0) for x in centres)]
    return [whole, *(Square(width / 2, float(y), short, 0) for y in centres)]


def anchor_centres(size: int, strides: Sequence[int]) -> np.ndarray:
    """(A, 2) centres in 0..1 of the anchors of a single-shot detector whose layers have these strides, two a cell.

    Layers of one stride share their cells (MediaPipe ``SsdAnchorsCalculator`` with ``fixed_anchor_size``).
    """
    layers = []
    for stride in sorted(set(strides)):
        cells = size // stride
        y, x = np.mgrid[:cells, :cells]
        centres = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / cells
        layers.append(np.repeat(centres, 2 * strides.count(stride), axis=0))
    return np.concatenate(layers)


def decode_detections(
    regressions: np.ndarray, logits: np.ndarray, anchors: np.ndarray, size: int, least: float
) -> list[Detection]:
    """Detections in pixels of the ``size`` x ``size`` picture, the surest first.

    ``regressions`` (A, 4 + 2K): box centre and extent, then K points, in pixels from the anchor; ``logits`` (A,).
    Overlapping candidates become one at the mean of their points, weighted by score (weighted non-maximum
    suppression, Bazarevsky et al., BlazeFace, 2019).
    """
    kept = np.flatnonzero(logits > math.log(least / (1 - least)))
    kept = kept[np.argsort(-logits[kept], kind="stable")]
    if not len(kept):
        return []
    scores = sigmoid(logits[kept])
    centres = anchors[kept] * size
    candidates = regressions[kept]
    middle, extent = candidates[:, :2] + centres, candidates[:, 2:4]
    boxes = np.concatenate([middle - extent / 2, middle + extent / 2], axis=1)
    points = candidates[:, 4:].reshape(len(kept), -1, 2) + centres[:, None]
    overlaps = box_ious(boxes, boxes) > 0.3
    np.fill_diagonal(overlaps, True)
    left = np.ones(len(kept), bool)
    found = []
    for best in range(len(kept)):
        if left[best]:
            cluster = np.flatnonzero(left & overlaps[best])
            weights = scores[cluster]
            mean = (points[cluster] * weights[:, None, None]).sum(axis=0) / weights.sum()
            found.append(Detection(float(weights[0]), mean))
            left[cluster] = False
    return found


def refine_with_heatmap(points: np.ndarray, heatmap: np.ndarray, size: int) -> np.ndarray:
    """Regressed landmarks (J, 2), pixels of the ``size`` x ``size`` picture, moved to what the heat map says nearby.

    ``heatmap`` (h, h, J) logits. Each point becomes the centroid of the 7x7 cells around it, where their highest
    probability reaches 0.5 (MediaPipe ``RefineLandmarksFromHeatmapCalculator``).
    """
    cells, _, count = heatmap.shape
    columns, rows = np.floor(points * (cells / size)).astype(int).T[..., None] + np.arange(-3, 4)
    known_columns, known_rows = (columns >= 0) & (columns < cells), (rows >= 0) & (rows < cells)
    columns, rows = columns[:, None], rows[:, :, None]
    # Cells beyond the border are read somewhere else, and count for nothing.
    logits = heatmap.take((rows * cells + columns) * count + np.arange(count)[:, None, None], mode="clip")
    odds = sigmoid(logits) * (known_rows[:, :, None] & known_columns[:, None])
    sure = known_rows[:, 3] & known_columns[:, 3] & (odds.max(axis=(1, 2)) >= 0.5)
    refined = points.copy()
    total = odds.sum(axis=(1, 2))[sure] * (cells / size)
    refined[sure, 0] = (odds * columns).sum(axis=(1, 2))[sure] / total
    refined[sure, 1] = (odds * rows).sum(axis=(1, 2))[sure] / total
    return refined


def square_through(centre: Point, rim: Point, rim_is_up: bool) -> Square:
    """The square around a circle given by centre and a point of its rim, which lies straight up or down in it."""
    x, y = rim[0] - centre[0], rim[1] - centre[1]
    angle = math.atan2(y, x) + (math.pi / 2 if rim_is_up else -math.pi / 2)
    return Square(centre[0], centre[1], 2 * math.hypot(x, y), angle)


def body_square(hips: Point, rim: Point) -> Square:
    """Where the body network looks: around the middle of the hips, with a quarter to spare."""
    return square_through(hips, rim, rim_is_up=True).scaled(1.25)


def hand_square(wrist: Point, index: Point, pinky: Point) -> Square:
    """Where a hand should be, from the body's landmarks: wrist below, knuckles in the middle."""
    knuckles = (2 * index[0] + pinky[0]) / 3, (2 * index[1] + pinky[1]) / 3
    square = square_through(knuckles, wrist, rim_is_up=False)
    return square.moved_up(FINGER_SHIFT * square.side).scaled(2.7)


def recropped_hand_square(centre: Point, rim: Point) -> Square:
    """Where the hand is, from the two points of the re-crop network."""
    square = square_through(centre, rim, rim_is_up=False)
    return square.moved_up(FINGER_SHIFT * square.side)


def eye_level_square(points: Sequence[Point], right_eye: Point, left_eye: Point) -> Square:
    """Around ``points``, as long as the larger of their extents, with the eyes level."""
    (left, right), (top, bottom) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))
    angle = math.atan2(left_eye[1] - right_eye[1], left_eye[0] - right_eye[0])
    return Square((left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top), angle)


def face_search_square(face: Sequence[Point]) -> Square:
    """Where the face detector looks, from the body's eleven landmarks of the head."""
    return eye_level_square(face, right_eye=face[5], left_eye=face[2]).scaled(3)


def face_square(detected: Sequence[Point]) -> Square:
    """Where the face network looks, from the detector's six points: eyes, nose, mouth, ears."""
    heights = [y for _, y in detected]
    height = max(heights) - min(heights)
    square = eye_level_square(detected, right_eye=detected[0], left_eye=detected[1])
    return square.moved_up(FOREHEAD_SHIFT * height).scaled(2)
