"""What a person checks of extracted poses in the morning, gathered in memory that does not grow with the data set."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from model.artifacts import open_filesystem
from model.keypoints import RELIABLE
from pipeline import quarantine
from pipeline.pose_measures import PARTS
from pipeline.pose_reader import PoseRows, open_parquet, open_pose_file
from pipeline.pose_sources import SUMMARY, PoseSource, sum_up
from pipeline.pose_table import PoseTableError
from pipeline.video_summaries import read_summaries

BINS = 20
SHOWN_VIDEOS = 200
"""Rows of the page's table: what a person looks through, whatever the size of the data set."""

_CHUNK = 1024
_SHORTEST_PREFIX = 6


@dataclass
class Inspection:
    """What was found.

    ``videos``, ``frames`` and ``statuses`` count everything; ``reliable`` (2,) is the number of frames with a reliable
    left and right hand. ``scores`` holds for each of ``PARTS`` the (``BINS``,) counts of keypoints by confidence, from
    ``rows_read`` of ``rows`` rows of poses. ``worst`` are summaries of the ``SHOWN_VIDEOS`` whose body is seen worst,
    the worst first; ``best`` the opposite; ``chosen`` those that were asked for. ``quarantined`` counts rows by stage
    and error, ``examples`` has a message for each. ``failed`` names the files and videos that could not be read,
    with the reason.
    """

    videos: int = 0
    frames: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    reliable: np.ndarray = field(default_factory=lambda: np.zeros(2))
    scores: dict[str, np.ndarray] = field(default_factory=lambda: {part: np.zeros(BINS, np.int64) for part in PARTS})
    rows: int = 0
    rows_read: int = 0
    worst: list[dict[str, Any]] = field(default_factory=list)
    best: list[dict[str, Any]] = field(default_factory=list)
    chosen: list[dict[str, Any]] = field(default_factory=list)
    quarantined: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def fail(self, name: str, error: Exception) -> None:
        """Note what could not be read; the rest goes on."""
        self.failed.append((name, str(error)))

    def add_scores(self, rows: PoseRows) -> None:
        """Count the keypoints of some rows by confidence."""
        for name, part in PARTS.items():
            # DWPose's scores may pass 1.
            counts, _ = np.histogram(rows.scores[:, part].clip(0, 1), BINS, (0, 1))
            self.scores[name] += counts
        self.rows_read += len(rows.frame)

    def add_videos(self, summaries: Iterable[dict[str, Any]], wanted: Sequence[str]) -> None:
        """Count videos and note those that stand out or are ``wanted``."""
        stream = iter(summaries)
        for chunk in iter(lambda: list(itertools.islice(stream, _CHUNK)), []):
            for row in chunk:
                self.videos += 1
                self.frames += row["frames"]
                self.statuses[row["status"] or ""] += 1
                hands = (row["reliable_left_hand"], row["reliable_right_hand"])
                self.reliable += np.array(hands, np.float64) * row["frames"]
            self.chosen += [row for row in chunk if any(is_called(row, name) for name in wanted)]
            self.worst = heapq.nsmallest(SHOWN_VIDEOS, [*self.worst, *chunk], key=_certainty)
            self.best = heapq.nlargest(SHOWN_VIDEOS, [*self.best, *chunk], key=_certainty)


def inspect(
    source: PoseSource, wanted: Sequence[str], most_rows: int, progress: Callable[[int, int], None]
) -> Inspection:
    """Look through the tables.

    ``wanted`` are video ids, their first six letters or more, or URIs. Where ``videos.parquet`` sums the tables up,
    about ``most_rows`` rows of poses are read at most, in row groups spread evenly over all files; else all of them.
    ``progress`` is told how many rows were read, and how many there are to read.
    """
    found = Inspection()
    groups = {name: _row_groups(source, name, found) for name in source.files}
    unreadable = {name for name, _ in found.failed}
    found.rows = sum(map(sum, groups.values()))
    every = max(1, -(-found.rows // most_rows)) if source.summed_up else 1

    def watch(rows: PoseRows) -> None:
        found.add_scores(rows)
        progress(found.rows_read, found.rows // every)

    if source.summed_up:
        found.add_videos(read_summaries(source.folder, SUMMARY), wanted)
    number = itertools.count()
    for name in source.files:
        chosen = [group for group in range(len(groups[name])) if next(number) % every == 0]
        if name in unreadable:
            continue
        try:
            with open_pose_file(source.uri(name)) as file:
                if source.summed_up:
                    for batch in file.batches(chosen):
                        watch(file.rows(batch))
                else:
                    found.add_videos(sum_up(file, name, watch, found.fail), wanted)
        except PoseTableError as error:
            found.failed.append((name, str(error)))
    _add_quarantine(found, source)
    return found


def share_above(counts: np.ndarray) -> float:
    """Of (``BINS``,) counts by confidence, the share above ``RELIABLE``."""
    return float(counts[round(RELIABLE * BINS) :].sum() / max(counts.sum(), 1))


def _row_groups(source: PoseSource, name: str, found: Inspection) -> list[int]:
    """Rows in each row group of a file; none if it cannot be read."""
    try:
        with open_pose_file(source.uri(name)) as file:
            return file.row_groups
    except PoseTableError as error:
        found.failed.append((name, str(error)))
        return []


def _certainty(row: dict[str, Any]) -> tuple[float, str]:
    """Nobody ever seen is worst of all."""
    return (-1.0 if row["confidence_body"] is None else row["confidence_body"]), row["video_id"]


def is_called(row: dict[str, Any], name: str) -> bool:
    """Whether that is a video's id, six letters or more that it begins with, or its URI."""
    begins = len(name) >= _SHORTEST_PREFIX and row["video_id"].startswith(name)
    return begins or name in (row["video_id"], row["uri"])


def _add_quarantine(found: Inspection, source: PoseSource) -> None:
    uri = source.uri(quarantine.NAME)
    filesystem, path = open_filesystem(uri)
    if not filesystem.isfile(path):
        return
    try:
        with open_parquet(uri) as file:
            for batch in pq.ParquetFile(file).iter_batches(_CHUNK, columns=["stage", "error", "message"]):
                for row in batch.to_pylist():
                    kind = (row["stage"] or "", row["error"] or "")
                    found.quarantined[kind] += 1
                    found.examples.setdefault(kind, row["message"] or "")
    except Exception as error:  # every store has exceptions of its own
        found.failed.append((quarantine.NAME, str(error)))
