"""Poses of pictures and videos: estimated once, kept as pose tables in the output, found there by the next run."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from model.artifacts import sha256
from model.estimators import PoseEstimator
from model.estimators.tracking import count_people, follow_person
from model.keypoints import PersonPose, PoseSequence
from pipeline.inputs import InputError, InputFile, local_copy
from pipeline.pose_table import VERSION, VideoPoses, read_pose_table, write_pose_table
from pipeline.sampling import sample_indices
from pipeline.scratch import scratch
from pipeline.storage import Storage
from pipeline.video import Frame, VideoError, read_frames

Progress = Callable[[int, int], None]


class NobodySeen(ValueError):
    """No person in any frame, or not the one asked for."""


def is_pose_table(uri: str) -> bool:
    """Whether a driving URI names poses rather than a video."""
    return uri.lower().endswith(".parquet")


def table_name(driving: InputFile, fps: float, estimator: PoseEstimator) -> str:
    """Where the poses of a video are kept: a name from what decides them."""
    facts = (driving.sha256, fps, estimator.name, estimator.version, estimator.digest, VERSION)
    return f"poses/{hashlib.sha256(repr(facts).encode()).hexdigest()[:32]}.parquet"


def driving_poses(
    driving: InputFile, fps: float, estimator: PoseEstimator, storage: Storage, progress: Progress
) -> VideoPoses:
    """Everybody in a driving video sampled at ``fps``: out of the output folder if they are there, else estimated.

    A driving URI that is itself a pose table is read and resampled. Raises ``VideoError``, ``PoseTableError`` or
    ``InputError``, also for a video that is no longer the one that ``driving`` says.
    """
    if is_pose_table(driving.uri):
        with local_copy(driving.uri) as path:
            return at_rate(read_pose_table(path), fps)
    name = table_name(driving, fps, estimator)
    with scratch() as folder:
        table = folder / "poses.parquet"
        if storage.exists(name):
            storage.get(name, table)
            return read_pose_table(table)
        with local_copy(driving.uri) as path:
            poses = _estimate(path, driving, fps, estimator, progress)
            # They are kept for every video with these contents, and must be theirs.
            if sha256(path) != driving.sha256:
                raise InputError(f"driving {driving.uri} changed while it was used; run again")
        about = {"name": estimator.name, "version": estimator.version, "weights": estimator.digest}
        write_pose_table(table, poses, about)
        storage.put(table, name)
        return poses


def people_in_frames(frames: Iterable[Frame], estimator: PoseEstimator) -> Iterator[tuple[Frame, list[PersonPose]]]:
    """Each frame with the people in it, as the estimator gives them; it may look some frames ahead.

    A picture that stays on screen is looked at once, for all the frames that show it: they have one time, and here one
    array of pixels.
    """
    waiting: deque[list[Frame]] = deque()

    def pictures() -> Iterator[np.ndarray]:
        for frame in frames:
            if waiting and waiting[-1][0].pts_s == frame.pts_s:
                waiting[-1].append(dataclasses.replace(frame, pixels=waiting[-1][0].pixels))
            else:
                waiting.append([frame])
                yield frame.pixels

    found: deque[list[PersonPose]] = deque()
    for people in estimator.track(pictures()):
        found.append(people)
        # How many frames show the last picture is known once there is another.
        while found and len(waiting) > 1:
            here = found.popleft()
            yield from ((frame, here) for frame in waiting.popleft())
    for here in found:
        yield from ((frame, here) for frame in waiting.popleft())


def _estimate(path: Path, driving: InputFile, fps: float, estimator: PoseEstimator, progress: Progress) -> VideoPoses:
    people, times = [], []
    with read_frames(path, fps=fps) as reader:
        total, info = len(reader.sources), reader.info
        if reader.truncated:
            raise _cut_short(driving)
        for frame, found in people_in_frames(reader, estimator):
            people.append(found)
            times.append(frame.pts_s)
            progress(len(people), total)
        # Some files only turn out to be cut short where they end.
        if reader.truncated:
            raise _cut_short(driving)
    return VideoPoses(driving.sha256, driving.uri, fps, info.width, info.height, times, people)


def _cut_short(driving: InputFile) -> VideoError:
    return VideoError(
        f"{driving.uri}: the file ends before its header says; fetch it again, or cut it to what is whole"
    )


def at_rate(poses: VideoPoses, fps: float) -> VideoPoses:
    """The same poses at another rate, the same length in seconds: at each time, what the video showed then."""
    frames = len(poses.people)
    chosen = sample_indices(np.arange(frames) / poses.fps, frames / poses.fps, fps)
    return dataclasses.replace(
        poses, fps=fps, pts_s=[poses.pts_s[i] for i in chosen], people=[poses.people[i] for i in chosen]
    )


def followed(poses: VideoPoses, person: int) -> tuple[PoseSequence, int]:
    """One person's poses through the video, and how many people it showed.

    Raises ``NobodySeen`` when there is nobody, or no ``person``-th.
    """
    count = count_people(poses.people)
    if not any(poses.people):
        raise NobodySeen(f"driving {poses.uri}: nobody is seen in any of its {len(poses.people)} frames")
    try:
        return follow_person(poses.people, poses.width, poses.height, person), count
    except ValueError as error:
        raise NobodySeen(f"driving {poses.uri}: {error}") from error
