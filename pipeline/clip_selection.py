"""From the pose tables of a folder to its ``clips.parquet``: video by video, whatever the size of the data set."""

from __future__ import annotations

import bisect
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from model.artifacts import join
from pipeline.clip_table import COLUMNS, KEPT, clip_rows, clip_writer
from pipeline.clips import ClipSettings
from pipeline.pose_measures import measure
from pipeline.pose_reader import PoseRows, open_pose_file
from pipeline.pose_table import PoseTableError
from pipeline.progress_line import Tally, shown
from pipeline.scratch import scratch
from pipeline.storage import Storage
from pipeline.video_summaries import OUTDATED, fits, read_summaries

log = logging.getLogger(__name__)


@dataclass
class Selection:
    """What was found: videos; clips of each length; frames by length and by ``kept`` or the reason they were left out.

    ``failed`` names the videos and tables that could not be used, with the reason.
    """

    videos: int = 0
    clips: Counter[int] = field(default_factory=Counter)
    frames: Counter[tuple[int, str]] = field(default_factory=Counter)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Count one video's rows."""
        self.videos += 1
        for row in rows:
            self.clips[row["length"]] += row["status"] == KEPT
            self.frames[row["length"], row["reason"] or KEPT] += row["frames"]

    def fail(self, name: str, error: Exception) -> None:
        """Note what could not be used; the rest goes on."""
        log.warning("%s: left out (%s)", name, error)
        self.failed.append((name, str(error)))


def select_clips(tables: str, output: str, settings: ClipSettings) -> Selection:
    """Write the clips of all videos of an output folder of extracted poses; the file appears in one step.

    Raises ``PoseTableError`` when ``tables`` is no such folder, or nothing in it can be used. Otherwise a video whose
    poses cannot be used, and a pose table that cannot be read, with those videos in it that were not reached, are named
    in ``Selection.failed`` and have no rows.
    """
    videos_in: Counter[str] = Counter(row["table"] for row in read_summaries(tables, ["table"]))
    selection, tally = Selection(), Tally("videos", videos_in.total())
    target, slash, name = output.rpartition("/")
    storage = Storage(target or slash)
    storage.check_writable()
    with scratch() as folder:
        part = folder / "clips.parquet"
        with clip_writer(part, settings) as writer, shown(tally.line):
            for table in sorted(videos_in):
                for video, poses in _videos(tables, table, selection):
                    try:
                        rows = list(clip_rows(video, measure(poses), settings))
                    except ValueError as error:
                        selection.fail(video["uri"], error)
                    else:
                        selection.add(rows)
                        writer.write(rows)
                    tally.count()
        if selection.failed and not selection.videos:
            failed, reason = selection.failed[0]
            raise PoseTableError(f"no video of {tables} can be used; {failed}: {reason}")
        storage.put(part, name)
    return selection


def _videos(folder: str, table: str, selection: Selection) -> Iterator[tuple[dict[str, Any], Iterator[PoseRows]]]:
    """Each video of a table with its poses, by id; also those in which nobody was seen, which have no rows."""
    videos = {row["video_id"]: row for row in read_summaries(folder, [*COLUMNS, "fingerprint"], table)}
    waiting = sorted(videos)
    try:
        with open_pose_file(join(folder, table)) as file:
            fingerprints = file.fingerprints
            for row in [row for row in videos.values() if not fits(row, fingerprints)]:
                waiting.remove(row["video_id"])
                selection.fail(row["uri"], PoseTableError(OUTDATED.format(table)))
            for video_id, row in file.contents(["uri"]).items():
                if video_id not in videos:
                    selection.fail(row["uri"] or video_id, PoseTableError(OUTDATED.format(table)))
            for video_id, batches in file.videos():
                reached = bisect.bisect_left(waiting, video_id)
                for absent in waiting[:reached]:
                    yield videos.pop(absent), iter(())
                del waiting[:reached]
                if waiting[:1] == [video_id]:
                    del waiting[0]
                    yield videos.pop(video_id), map(file.rows, batches)
    except PoseTableError as error:
        selection.fail(f"{len(waiting)} videos of {join(folder, table)}", error)
        return
    for absent in waiting:
        yield videos.pop(absent), iter(())
