"""Which backend estimates poses: by name, with its weights from anywhere."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from model.artifacts import fetch, join, sha256
from model.estimators import PoseEstimator
from model.estimators.dwpose import DWPose
from model.estimators.holistic import MAX_PEOPLE, Holistic
from model.estimators.holistic_weights import HOLISTIC_DIGEST, holistic_weights

ESTIMATORS = ("holistic", "dwpose")

# The file names under which both networks are published.
DWPOSE_DETECTOR = "yolox_l.onnx"
DWPOSE_POSE = "dw-ll_ucoco_384.onnx"


class EstimatorFacts(NamedTuple):
    """What of a backend decides its poses: see ``PoseEstimator``."""

    name: str
    version: str
    digest: str


@dataclass(frozen=True)
class EstimatorChoice:
    """A backend and where its weights are.

    ``weights`` is a folder, a path or URI: for ``holistic`` with its TFLite files, or ``None`` to fetch them once; for
    ``dwpose`` with ``yolox_l.onnx`` and ``dw-ll_ucoco_384.onnx``. ``people`` is how many are estimated in
    a frame at most, the backend's own limit by default. Raises ``ValueError`` for an unknown name or a folder that is
    wanting.
    """

    name: str = "holistic"
    weights: str | None = None
    people: int | None = None

    def __post_init__(self) -> None:
        if self.name not in ESTIMATORS:
            raise ValueError(f"pose estimator is {self.name!r}, expected one of {', '.join(ESTIMATORS)}")
        if self.name == "dwpose" and self.weights is None:
            raise ValueError(f"pose estimator dwpose needs a folder with {DWPOSE_DETECTOR} and {DWPOSE_POSE}")

    def facts(self) -> EstimatorFacts:
        """What the backend is, without loading it; brings the weights here if they are elsewhere."""
        if self.name == "holistic":
            holistic_weights(self.weights)
            return EstimatorFacts(Holistic.name, Holistic.version, HOLISTIC_DIGEST)
        digests = " ".join(sha256(path) for path in self._dwpose_files())
        return EstimatorFacts(DWPose.name, DWPose.version, hashlib.sha256(digests.encode()).hexdigest())

    def identity(self) -> str:
        """Name, version and digest of the weights in one text; brings the weights here if they are elsewhere."""
        return "-".join(self.facts())

    def load(self, device: str = "cpu", threads: int = 1) -> PoseEstimator:
        """The backend, ready. ``device`` matters to ``dwpose`` alone; ``holistic`` runs on the CPU."""
        if self.name == "holistic":
            return Holistic(holistic_weights(self.weights), threads=threads, max_people=self.people or MAX_PEOPLE)
        detector, pose = self._dwpose_files()
        return DWPose(detector, pose, device=device, threads=threads, max_people=self.people)

    def _dwpose_files(self) -> tuple[Path, Path]:
        assert self.weights is not None  # seen to in __post_init__
        return fetch(join(self.weights, DWPOSE_DETECTOR)), fetch(join(self.weights, DWPOSE_POSE))
