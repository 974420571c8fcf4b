"""What surrounds DWPose's two networks: pictures to their inputs, their outputs to boxes and keypoints. As released."""

from __future__ import annotations

import cv2
import numpy as np

DETECTOR_SIZE = 640
DETECTOR_STRIDES = (8, 16, 32)
DETECTOR_ROWS = sum((DETECTOR_SIZE // stride) ** 2 for stride in DETECTOR_STRIDES)
POSE_WIDTH, POSE_HEIGHT = 288, 384

_PAD_VALUE = 114
_BOX_SCORE = 0.3
_BOX_OVERLAP = 0.45
_BOX_GROWTH = 1.25
SIMCC_STEPS = 2
_MEAN = np.array([123.675, 116.28, 103.53])
_STD = np.array([58.395, 57.12, 57.375])
# What each of the 256 levels of a channel becomes, (1, 256, 3): looked up, the same floats cost a twentieth.
_NORMALISED = ((np.arange(256)[None, :, None] - _MEAN) / _STD).astype(np.float32)


def letterbox(image: np.ndarray) -> tuple[np.ndarray, float]:
    """(H, W, 3) uint8 RGB in the top left of a grey square: (3, 640, 640) uint8, and the scale it was resized by."""
    height, width = image.shape[:2]
    scale = min(DETECTOR_SIZE / height, DETECTOR_SIZE / width)
    new_width, new_height = max(1, int(width * scale)), max(1, int(height * scale))
    square = np.full((DETECTOR_SIZE, DETECTOR_SIZE, 3), _PAD_VALUE, np.uint8)
    square[:new_height, :new_width] = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    return square.transpose(2, 0, 1), scale


def decode_people(output: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """YOLOX rows (8400, 85) to people: boxes (N, 4) x0 y0 x1 y1 in pixels of the picture, scores (N,), best first.

    ``scale`` is the letterbox's. A row is the centre and the logarithm of the size, both in cells of its stride, the
    objectness, and 80 class scores, of which the first is for people.
    """
    scores = output[:, 4] * output[:, 5]
    # Released code suppresses among scores above 0.1 first. No box below 0.3 removes a better one: the same result.
    rows = np.flatnonzero(scores > _BOX_SCORE)
    rows = rows[scores[rows].argsort(kind="stable")[::-1]]
    cells, strides = _grid()
    centres = (output[rows, :2] + cells[rows]) * strides[rows]
    halves = np.exp(output[rows, 2:4]) * strides[rows] / 2
    boxes = np.concatenate([centres - halves, centres + halves], axis=1) / scale
    kept = _without_overlaps(boxes)
    return boxes[kept], scores[rows][kept]


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Cell x, y (8400, 2) and stride (8400, 1) of every detector row."""
    cells, strides = [], []
    for stride in DETECTOR_STRIDES:
        side = DETECTOR_SIZE // stride
        y, x = np.divmod(np.arange(side * side), side)
        cells.append(np.stack([x, y], axis=1).astype(np.float32))
        strides.append(np.full((side * side, 1), stride, np.float32))
    return np.concatenate(cells), np.concatenate(strides)


def _without_overlaps(boxes: np.ndarray) -> list[int]:
    """Rows of the (N, 4) boxes, best first, that survive greedy suppression; both edge pixels count, as released."""
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    kept: list[int] = []
    left = np.arange(len(boxes))
    while len(left):
        best, others = left[0], left[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[others, :2])
        high = np.minimum(boxes[best, 2:], boxes[others, 2:])
        shared = np.maximum(high - low + 1, 0).prod(axis=1)
        left = others[shared / (areas[best] + areas[others] - shared) <= _BOX_OVERLAP]
    return kept


def whole_frame(width: int, height: int) -> np.ndarray:
    """(1, 4): the box of a frame in which no person was found, as released."""
    return np.array([[0, 0, width, height]], np.float32)


def pose_region(box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre (2,) and size (2,) in pixels of what the pose network sees of a (4,) box: more of it, at its own shape."""
    corners = box.astype(np.float64).reshape(2, 2)
    width, height = (corners[1] - corners[0]) * _BOX_GROWTH
    aspect = POSE_WIDTH / POSE_HEIGHT
    return corners.mean(axis=0), np.array([max(width, height * aspect), max(height, width / aspect)])


def pose_input(image: np.ndarray, centre: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The region of an (H, W, 3) uint8 RGB picture as the pose network takes it: (3, 384, 288) float32, normalised."""
    # Solved from three points rounded to float32 one after the other: the bytes of the crop hang on it, as released.
    middle = centre.astype(np.float32)
    above = (middle + np.array([0, -size[0] / 2])).astype(np.float32)
    beside = above - np.array([middle[1] - above[1], 0], np.float32)
    half_width, half_height = POSE_WIDTH / 2, POSE_HEIGHT / 2
    lifted = half_height - half_width
    target = np.array([[half_width, half_height], [half_width, lifted], [0, lifted]], np.float32)
    matrix = cv2.getAffineTransform(np.stack([middle, above, beside]), target)
    crop = cv2.warpAffine(image, matrix, (POSE_WIDTH, POSE_HEIGHT), flags=cv2.INTER_LINEAR)
    return cv2.LUT(crop, _NORMALISED).transpose(2, 0, 1)


def decode_keypoints(
    simcc_x: np.ndarray, simcc_y: np.ndarray, centre: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """SimCC outputs (133, 576) and (133, 768) to keypoints (133, 2) in pixels of the picture and scores (133,).

    ``centre`` and ``size`` are those of the region. Scores are raw maxima: they can be negative and exceed 1.
    """
    scores = np.minimum(simcc_x.max(axis=-1), simcc_y.max(axis=-1))
    steps = np.stack([simcc_x.argmax(axis=-1), simcc_y.argmax(axis=-1)], axis=-1)
    steps = np.where(scores[:, None] > 0, steps, -1)
    keypoints = steps / SIMCC_STEPS / np.array([POSE_WIDTH, POSE_HEIGHT]) * size + centre - size / 2
    return keypoints, scores
