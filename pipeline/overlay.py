"""Poses drawn over the pictures they were found in, to see whether they sit where they should."""

from __future__ import annotations

import cv2
import numpy as np

from model.guidance import draw_guidance
from model.openpose import drawn_people

_PICTURE_SHARE = 0.5
_DRAWN_HEIGHT = 1080
_DRAWN_WIDTH = 4096
_GREY = np.array([0.299, 0.587, 0.114])


def draw_overlay(
    picture: np.ndarray | None, keypoints: np.ndarray, scores: np.ndarray, size: tuple[int, int], height: int
) -> np.ndarray:
    """(height, W, 3) uint8 RGB: people in the guidance drawing's colours, brighter where the detector is surer.

    ``picture`` (H, W, 3) uint8 RGB of any size lies below in dark grey, black where it is ``None``; ``keypoints``
    (P, 133, 2) are in pixels of a picture of ``size`` width and height, ``scores`` (P, 133). A keypoint with score 0
    was not found and is not drawn.
    """
    width = max(1, round(height * size[0] / size[1]))
    found = np.where(scores[..., None] > 0, keypoints, np.nan)
    # Drawn larger and with wider lines, so that none is lost or dimmed in a small picture; a flat one is no small one.
    finer = max(1, min(-(-_DRAWN_HEIGHT // height), _DRAWN_WIDTH // width))
    drawing = draw_guidance(drawn_people(found, scores, *size), height * finer, width * finer)
    if finer > 1:
        drawing = cv2.dilate(drawing, np.ones((finer + 1, finer + 1), np.uint8))
        drawing = cv2.resize(drawing, (width, height), interpolation=cv2.INTER_AREA)
    if picture is None:
        return drawing
    grey = (cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA) @ (_GREY * _PICTURE_SHARE)).astype(
        np.uint8
    )
    return np.maximum(drawing, grey[..., None])


def shrunk(picture: np.ndarray, height: int) -> np.ndarray:
    """A picture (H, W, 3) no higher than that, in its proportions."""
    share = height / picture.shape[0]
    if share >= 1:
        return picture
    return cv2.resize(picture, (max(1, round(picture.shape[1] * share)), height), interpolation=cv2.INTER_AREA)
