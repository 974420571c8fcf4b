"""The actor that estimates poses: a driving video, once, for all the rows that use it.

A row that fails is an outcome like any other; nothing that a row does may end the run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from cluster.exiting import exit_at_once
from model.estimators.selection import EstimatorChoice
from model.estimators.tracking import track_person
from model.framing import fit_picture
from model.images import read_image
from model.keypoints import PoseSequence
from pipeline.inputs import local_copy
from pipeline.poses import driving_poses, followed
from pipeline.progress import Reporter
from pipeline.quarantine import Quarantined
from pipeline.retries import patiently
from pipeline.storage import Storage
from pipeline.tasks import Posed, Task, pack, unpack


class EstimatePoses:
    """A driving video and the rows that use it -> the rows with their poses, each on its own."""

    def __init__(
        self, choice: EstimatorChoice, device: str, half: bool, threads: int, storage: Storage, board: str
    ) -> None:
        exit_at_once()
        self._unusable: Exception | None = None
        try:
            self._estimator = patiently(lambda: choice.load(device, threads), "loading the pose networks")
        except Exception as error:
            # Raised here, it would reach nobody but Ray.
            self._unusable = error
        self._half = half
        self._storage = storage
        self._reporter = Reporter(board)

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[dict[str, list[Any]]]:
        (packed,) = batch["packed"]
        for work in self._posed(unpack(packed)):
            yield {name: [value] for name, value in pack(work).items()}

    def _posed(self, tasks: list[Task]) -> Iterator[Posed | Quarantined]:
        if self._unusable is not None:
            for task in tasks:
                yield task.failed(self._unusable, "model")
            return
        first = tasks[0]
        start = time.monotonic()
        try:
            poses = driving_poses(
                first.driving,
                first.row.settings.fps,
                self._estimator,
                self._storage,
                lambda done, total: self._reporter.report(first.row.id, "poses", done, total),
            )
        except Exception as error:
            for task in tasks:
                yield task.failed(error, "poses")
            return
        seconds = time.monotonic() - start
        for task in tasks:
            try:
                driving, people = followed(poses, task.row.settings.person)
                yield Posed(task, driving, self._reference_pose(task), people, seconds)
            except Exception as error:
                yield task.failed(error, "poses")

    def _reference_pose(self, task: Task) -> PoseSequence:
        with local_copy(task.reference.uri) as path:
            reference = read_image(path)
        settings = task.row.settings.animation
        if settings.style != "released":
            return track_person(self._estimator, [reference])
        # The released code looks for the person in the picture as cropped and scaled for the network.
        picture, fit = fit_picture(reference, settings.resolution, settings.style, self._half)
        pose = track_person(self._estimator, [picture])
        height, width = reference.shape[:2]
        return pose.moved(lambda points: fit.points_back(points, height, width), width, height)
