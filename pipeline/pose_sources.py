"""Pose tables wherever they lie, summed up in ``videos.parquet`` or not, and the videos that they hold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.artifacts import join, open_filesystem
from model.estimators.tracking import lasting_people
from pipeline import video_summaries
from pipeline.pose_measures import PARTS, Measures, measure
from pipeline.pose_pictures import PosedVideo
from pipeline.pose_reader import PoseFile, PoseRows
from pipeline.pose_table import PoseTableError
from pipeline.video_summaries import OUTDATED, fits, read_summaries

SUMMARY = (
    "video_id", "uri", "table", "status", "note", "fps", "frames", "people",
    "confidence_body", "confidence_face", "confidence_left_hand", "confidence_right_hand",
    "reliable_left_hand", "reliable_right_hand", "motion",
)  # fmt: skip
"""What is told of each video."""


@dataclass(frozen=True)
class PoseSource:
    """Pose tables to look at: the ``files`` under ``folder``, and whether ``videos.parquet`` sums them up."""

    folder: str
    files: tuple[str, ...]
    summed_up: bool

    def uri(self, name: str) -> str:
        """Where a file of it is."""
        return join(self.folder, name)


def find_tables(uri: str) -> PoseSource:
    """What a person pointed at: one pose table, a folder of them, or an output folder of extract_poses.

    Raises ``PoseTableError`` when there is no pose table.
    """
    filesystem, path = open_filesystem(uri)
    try:
        if filesystem.isfile(path):
            folder, _, name = uri.rpartition("/")
            return PoseSource(folder, (name,), False)
        if filesystem.isfile(join(path, video_summaries.NAME)):
            return PoseSource(uri, tuple(sorted({row["table"] for row in read_summaries(uri, ["table"])})), True)
        for prefix in ("poses/", ""):
            # No glob: the folder's own name may have brackets in it.
            names = filesystem.find(join(path, prefix), maxdepth=1)
            found = sorted(name.rpartition("/")[2] for name in names if name.endswith(".parquet"))
            if found:
                return PoseSource(uri, tuple(prefix + name for name in found), False)
    except PoseTableError:
        raise
    except Exception as error:  # every store has exceptions of its own
        raise PoseTableError(f"{uri}: cannot be listed ({type(error).__name__}: {error})") from error
    raise PoseTableError(f"{uri}: no pose table, and no folder with any")


def sum_up(
    file: PoseFile, table: str, watch: Callable[[PoseRows], None], fail: Callable[[str, Exception], None]
) -> Iterator[dict[str, Any]]:
    """``SUMMARY`` of each video of a file that is not summed up, from all its rows, which ``watch`` is shown.

    Videos in which nobody was seen, which only the file's metadata name, come last. ``fail`` is told of a video that
    cannot be used, and of a table that cannot be read on.
    """
    told = _told(file, ("uri", "status", "note", "fps", "frames"))
    try:
        for video_id, batches in file.videos():
            about = told.pop(video_id, {})
            uri = about.get("uri") or ""

            def watched(batches: Iterator[Any] = batches) -> Iterator[PoseRows]:
                nonlocal uri
                for rows in map(file.rows, batches):
                    watch(rows)
                    uri = rows.uri
                    yield rows

            try:
                measures = measure(watched())
            except ValueError as error:
                fail(uri or video_id, error)
            else:
                yield _summary(video_id, {**about, "uri": uri}, table, measures)
    except PoseTableError as error:
        fail(table, error)
        return
    for video_id, about in told.items():
        yield _summary(video_id, about, table, measure(()))


def _told(file: PoseFile, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What a file says of its videos, by id: of many as extract_poses writes it, of one as animate_catalog. Of a video
    of which it says what cannot be, it says nothing.
    """
    if "video" not in file.facts:
        told = file.contents(columns)
    else:
        video, sampling = file.facts["video"], file.facts.get("sampling", {})
        about = {**video, **sampling} if isinstance(video, dict) and isinstance(sampling, dict) else {}
        told = {about.get("id", ""): {name: about.get(name) for name in columns}}
    return {
        video_id: about
        for video_id, about in told.items()
        if video_id and isinstance(video_id, str) and all(_can_be(name, value) for name, value in about.items())
    }


def _can_be(column: str, value: Any) -> bool:
    """Whether a file may say that of a video; that it says nothing it may."""
    if value is None:
        return True
    if column == "pts_s":
        return isinstance(value, list) and len(value) > 0 and all(map(_is_number, value))
    if column in ("fps", "frames"):
        return _is_number(value) and 0 < value <= 10_000_000
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _summary(video_id: str, about: dict[str, Any], table: str, measures: Measures) -> dict[str, Any]:
    frames = int(about.get("frames") or measures.frame.max(initial=-1) + 1)
    known = {name: about.get(name) for name in ("status", "note", "fps")}
    own = {"video_id": video_id, "uri": about["uri"] or "", "table": table, "frames": frames}
    return {**own, **known, **_main_person(measures, frames)}


def _main_person(measures: Measures, frames: int) -> dict[str, Any]:
    """Means of the person with the largest sum of box areas, over the frames that they are seen in."""
    if not len(measures):
        confidences = dict.fromkeys(f"confidence_{part}" for part in PARTS)
        return {"people": 0, **confidences, "reliable_left_hand": 0.0, "reliable_right_hand": 0.0, "motion": None}
    people, person = np.unique(measures.person, return_inverse=True)
    areas = np.bincount(person, weights=measures.area)
    main = measures[measures.person == people[areas.argmax()]]
    known = main.speed[~np.isnan(main.speed)]
    left, right = main.reliable.sum(axis=0) / frames
    confidence = zip(PARTS, main.confidence.mean(axis=0, dtype=np.float64).tolist(), strict=True)
    return {
        "people": len(lasting_people(Counter(measures.person.tolist()), frames)),
        **{f"confidence_{part}": value for part, value in confidence},
        "reliable_left_hand": float(left),
        "reliable_right_hand": float(right),
        "motion": float(known.mean()) if len(known) else None,
    }


def posed_video(source: PoseSource, row: dict[str, Any], file: PoseFile) -> PosedVideo:
    """A video, by its summary, with the times of all its frames; ``file`` is its table, open.

    Where neither ``videos.parquet`` nor the file says when the frames with nobody were, those are put evenly between
    the others, and before the first at their median step. Raises ``PoseTableError`` when the table cannot be read, or
    is of another age than ``videos.parquet``.
    """
    if source.summed_up:
        summaries = read_summaries(source.folder, ["video_id", "fps", "pts_s", "fingerprint"], row["table"])
        summary = next((summary for summary in summaries if summary["video_id"] == row["video_id"]), None)
        if summary is None or not fits(summary, file.fingerprints):
            raise PoseTableError(OUTDATED.format(row["table"]))
        fps, times = summary["fps"], summary["pts_s"]
    else:
        about = _told(file, ("fps", "pts_s")).get(row["video_id"], {})
        fps, times = about.get("fps"), about.get("pts_s") or _guessed_times(file, row)
    lasts = times[-1] - times[0]
    fps = fps or ((len(times) - 1) / lasts if lasts > 0 else 1.0)
    return PosedVideo(row["video_id"], row["uri"], fps, times)


def _guessed_times(file: PoseFile, row: dict[str, Any]) -> list[float]:
    """When the frames of a video were, by its rows."""
    chunks = [(rows.frame, rows.pts_s) for rows in map(file.rows, file.video(row["video_id"]))]
    if not chunks:
        raise PoseTableError(f"{file.name} has no rows of it, and does not say when its frames were")
    frame, pts_s = (np.concatenate(column) for column in zip(*chunks, strict=True))
    frame, first = np.unique(frame, return_index=True)
    pts_s = pts_s[first]
    frames = np.arange(row["frames"])
    times = np.interp(frames, frame, pts_s)
    if len(frame) > 1:
        step = np.median(np.diff(pts_s) / np.diff(frame))
        times += step * np.minimum(frames - frame[0], 0)
    return list(times.tolist())
