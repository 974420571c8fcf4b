"""Real people's motion out of pose tables, made ready to drive figures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from model.keypoints import NUM_KEYPOINTS, PoseSequence
from pipeline.figures.complete import complete
from pipeline.pose_reader import PoseFile, PoseRows, join_rows


def recorded_motions(file: PoseFile) -> Iterator[tuple[str, np.ndarray]]:
    """Each video of a pose table whose poses are of one person: its URI, and (T, 133, 2) float32 pixels without gaps.

    Frames in which the person was not found are filled in; a video in which some joint never is is passed over.
    """
    for _, batches in file.videos():
        rows = None
        for batch in batches:
            piece = file.rows(batch)
            rows = piece if rows is None else join_rows(rows, piece)
        if rows is None or len(np.unique(rows.person)) > 1:
            continue
        try:
            yield rows.uri, complete(_sequence(rows))
        except ValueError:
            continue


def _sequence(rows: PoseRows) -> PoseSequence:
    frames = int(rows.frame[-1]) + 1
    keypoints = np.zeros((frames, NUM_KEYPOINTS, 2), np.float32)
    scores, boxes = np.zeros((frames, NUM_KEYPOINTS), np.float32), np.zeros((frames, 4), np.float32)
    keypoints[rows.frame], scores[rows.frame], boxes[rows.frame] = rows.keypoints, rows.scores, rows.boxes
    found = np.isin(np.arange(frames), rows.frame)
    return PoseSequence(
        keypoints, scores, boxes, found.astype(np.float32), found.astype(np.int32), rows.width, rows.height
    )
