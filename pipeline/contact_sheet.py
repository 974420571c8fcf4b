"""Frames of one video with its poses on one sheet, with a legend that tells left from right and bright from dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model.keypoints import FACE, LEFT_HAND, NUM_KEYPOINTS, RELIABLE, RIGHT_HAND
from pipeline.overlay import draw_overlay

CELL_HEIGHT = 400

_COLUMNS = 6
_WIDTH = 1720
_GAP, _LINE, _LEGEND = 8, 20, 190
_PAPER, _INK, _FAINT = (18, 18, 18), (235, 235, 235), (165, 165, 165)
_WRISTS = {"L": 9, "R": 10}
_LEGEND_SCORES = (1.0, 0.6, 0.35)
_LEGEND_SIZE = (230, _LEGEND - _LINE)


@dataclass(frozen=True, eq=False)
class SheetFrame:
    """One frame of a sheet: ``picture`` (H, W, 3) if there is one, people (P, 133, 2) and (P, 133), a ``caption``."""

    picture: np.ndarray | None
    keypoints: np.ndarray
    scores: np.ndarray
    caption: str


def contact_sheet(frames: Sequence[SheetFrame], size: tuple[int, int], heading: Sequence[str]) -> np.ndarray:
    """(H, W, 3) uint8 RGB: the legend beside the lines of the ``heading``, and the frames in rows.

    ``size`` is the width and height of the video, whose pixels the keypoints are in.
    """
    cells = [_cell(frame, size) for frame in frames]
    cell_width, cell_height = cells[0].size if cells else (0, 0)
    columns = max(1, min(_COLUMNS, len(cells), (_WIDTH - _GAP) // (cell_width + _GAP)))
    rows = -(-len(cells) // columns)
    legend = _legend()
    width = max(columns * (cell_width + _GAP) + _GAP, legend.width + 2 * _GAP)
    sheet = Image.new("RGB", (width, _LEGEND + 2 * _GAP + len(heading) * _LINE + rows * (cell_height + _GAP)), _PAPER)
    sheet.paste(legend, (_GAP, _GAP))
    top = _LEGEND + _GAP
    for line in heading:
        _write(sheet, (_GAP, top), line, _INK)
        top += _LINE
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        sheet.paste(cell, (_GAP + column * (cell_width + _GAP), top + _GAP + row * (cell_height + _GAP)))
    return np.asarray(sheet)


def _cell(frame: SheetFrame, size: tuple[int, int]) -> Image.Image:
    # A very wide picture is as high as the sheet's width lets it be.
    height = max(1, min(CELL_HEIGHT, (_WIDTH - 2 * _GAP) * size[1] // size[0]))
    drawing = draw_overlay(frame.picture, frame.keypoints, frame.scores, size, height)
    cell = Image.new("RGB", (drawing.shape[1], height + 2 * _LINE), _PAPER)
    cell.paste(Image.fromarray(drawing), (0, 0))
    for keypoints, scores in zip(frame.keypoints, frame.scores, strict=True):
        for letter, wrist in _WRISTS.items():
            if scores[wrist] > RELIABLE:
                x, y = keypoints[wrist] * height / size[1]
                _write(cell, (float(x) + 6, float(y) - 18), letter, _INK)
    _write(cell, (2, height), frame.caption, _FAINT)
    return cell


def _legend() -> Image.Image:
    """A figure who faces the viewer, drawn at falling confidence by the very code that draws people."""
    width, height = _LEGEND_SIZE
    legend = Image.new("RGB", (width * len(_LEGEND_SCORES), _LEGEND), _PAPER)
    for number, score in enumerate(_LEGEND_SCORES):
        left = number * width
        scores = np.full((1, NUM_KEYPOINTS), score, np.float32)
        figure = draw_overlay(None, _figure(width, height)[None], scores, _LEGEND_SIZE, height)
        legend.paste(Image.fromarray(figure), (left, 0))
        _write(legend, (left + 4, 6), "right", _INK)
        _write(legend, (left + width - 36, 6), "left", _INK)
        _write(legend, (left + width // 2 - 50, height), f"confidence {score:g}", _FAINT)
    return legend


def _figure(width: float, height: float) -> np.ndarray:
    """(133, 2): somebody upright who faces the viewer, arms to the sides, hands spread."""
    body = [
        (0.50, 0.12), (0.52, 0.09), (0.48, 0.09), (0.54, 0.11), (0.46, 0.11), (0.60, 0.30), (0.40, 0.30), (0.70, 0.42),
        (0.30, 0.42), (0.80, 0.52), (0.20, 0.52), (0.56, 0.56), (0.44, 0.56), (0.57, 0.75), (0.43, 0.75), (0.58, 0.95),
        (0.42, 0.95),
    ]  # fmt: skip
    points = np.full((NUM_KEYPOINTS, 2), (0.5, 0.97))
    points[: len(body)] = body
    turn = np.linspace(0, 2 * np.pi, FACE.stop - FACE.start)
    points[FACE] = np.stack([0.5 + 0.05 * np.cos(turn), 0.11 + 0.08 * np.sin(turn)], axis=1)
    finger, joint = np.divmod(np.arange(20), 4)
    spread = np.stack([0.014 * (joint + 1), 0.025 * (finger - 2)], axis=1)
    for hand, wrist, side in ((LEFT_HAND, 9, 1), (RIGHT_HAND, 10, -1)):
        points[hand] = points[wrist] + np.concatenate([np.zeros((1, 2)), spread * (side, 1)])
    return points * (width, height)


def _write(image: Image.Image, place: tuple[float, float], text: str, colour: tuple[int, int, int]) -> None:
    ImageDraw.Draw(image).text(place, text, fill=colour, font=ImageFont.load_default(14))
