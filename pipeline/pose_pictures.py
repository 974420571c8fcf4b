"""Pictures of a video's poses: a contact sheet, and the whole video with its poses over it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.keypoints import BODY, FACE, LEFT_HAND, NUM_KEYPOINTS, RIGHT_HAND
from pipeline.contact_sheet import CELL_HEIGHT, SheetFrame, contact_sheet
from pipeline.encoding import VideoWriter
from pipeline.inputs import posed_video
from pipeline.overlay import draw_overlay, shrunk
from pipeline.pose_reader import PoseFile, PoseRows, join_rows
from pipeline.pose_table import PoseTableError
from pipeline.video import read_frames

log = logging.getLogger(__name__)

SHEET_FRAMES = 12
OVERLAY_HEIGHT = 720

_CAPTIONED = {"body": BODY, "face": FACE, "L": LEFT_HAND, "R": RIGHT_HAND}


@dataclass(frozen=True)
class PosedVideo:
    """A video in a pose table: ``pts_s`` are the times of its sampled frames, those with nobody too."""

    video_id: str
    uri: str
    fps: float
    pts_s: Sequence[float]


def sheet(file: PoseFile, video: PosedVideo, heading: Sequence[str]) -> tuple[np.ndarray, str | None]:
    """A contact sheet of frames evenly over the video, (H, W, 3) uint8 RGB, and why it is on black, if it is.

    Raises ``PoseTableError`` when the poses cannot be read.
    """
    wanted = np.unique(np.linspace(0, len(video.pts_s) - 1, SHEET_FRAMES).round().astype(int)).tolist()
    rows = _rows_of(file, video.video_id, wanted)
    times = [video.pts_s[frame] for frame in wanted]
    trouble = None
    pictures: list[np.ndarray | None] = []
    try:
        with _source(video, times) as read:
            pictures = [shrunk(picture, CELL_HEIGHT) for picture in read]
    except ValueError as error:  # whatever is wrong with a file or its times is one
        trouble = str(error)
    pictures += [None] * (len(wanted) - len(pictures))
    size = _size(rows, pictures[0])
    frames = []
    for frame, time, picture in zip(wanted, times, pictures, strict=True):
        keypoints, scores = _people(rows, frame)
        frames.append(SheetFrame(picture, keypoints, scores, _caption(frame, time, scores)))
    return contact_sheet(frames, size, heading), trouble


def write_overlay(file: PoseFile, video: PosedVideo, path: Path, progress: Callable[[], None]) -> str | None:
    """The whole video with its poses over it, as an MP4, in memory that does not grow with its length.

    ``progress`` is called for every frame. Returns why the poses are on black, if they are. Raises ``PoseTableError``
    when the poses cannot be read.
    """
    try:
        with _source(video, video.pts_s) as pictures:
            _write_over(pictures, file, video, path, progress)
        return None
    except ValueError as error:  # whatever is wrong with a file or its times is one
        _write_over(iter(()), file, video, path, progress)
        return str(error)


def _write_over(
    pictures: Iterator[np.ndarray], file: PoseFile, video: PosedVideo, path: Path, progress: Callable[[], None]
) -> None:
    batches = map(file.rows, file.video(video.video_id))
    first = next(batches, None)
    picture = next(pictures, None)
    size = _size(first, picture)
    height = min(OVERLAY_HEIGHT, size[1])
    waiting = first
    with VideoWriter(path, video.fps) as writer:
        for frame in range(len(video.pts_s)):
            # A frame's people may go on in the next batch.
            while waiting is not None and waiting.frame[-1] <= frame and (more := next(batches, None)) is not None:
                waiting = join_rows(waiting[waiting.frame >= frame], more)
            keypoints, scores = _people(waiting, frame)
            drawing = draw_overlay(picture, keypoints, scores, size, height)
            writer.write(drawing)
            picture = next(pictures, None)
            progress()


@contextmanager
def _source(video: PosedVideo, times: Sequence[float]) -> Iterator[Iterator[np.ndarray]]:
    """The pictures at these times, of the very file that the poses were found in. Raises what reading it raises."""
    with posed_video(video.uri, video.video_id) as path, read_frames(path, at_s=times) as frames:
        yield (frame.pixels for frame in frames)


def _rows_of(file: PoseFile, video_id: str, wanted: Sequence[int]) -> PoseRows | None:
    """The rows of some frames; ``None`` where nobody is in any of the video's frames."""
    kept: PoseRows | None = None
    for batch in file.video(video_id):
        rows = file.rows(batch)
        chosen = rows[np.isin(rows.frame, wanted)]
        kept = chosen if kept is None else join_rows(kept, chosen)
    return kept


def _people(rows: PoseRows | None, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """(P, 133, 2) and (P, 133) of one frame."""
    if rows is None:
        return np.zeros((0, NUM_KEYPOINTS, 2), np.float32), np.zeros((0, NUM_KEYPOINTS), np.float32)
    inside = rows.frame == frame
    return rows.keypoints[inside], rows.scores[inside]


def _size(rows: PoseRows | None, picture: np.ndarray | None) -> tuple[int, int]:
    """Width and height that keypoints are in; where there are none, those of the picture.

    Raises ``PoseTableError`` for a size that no picture has.
    """
    if rows is not None:
        if min(rows.width, rows.height) < 1:
            raise PoseTableError(f"its rows are of pictures of {rows.width}x{rows.height} pixels; extract them again")
        return rows.width, rows.height
    return (640, 480) if picture is None else (picture.shape[1], picture.shape[0])


def _caption(frame: int, time: float, scores: np.ndarray) -> str:
    if not len(scores):
        return f"{frame}  {time:.2f} s  nobody"
    main = scores[int(np.argmax(scores[:, BODY].mean(axis=1)))]
    parts = [f"{name} {main[part].mean():.2f}" for name, part in _CAPTIONED.items()]
    return f"{frame}  {time:.2f} s\n{'  '.join(parts)}"
