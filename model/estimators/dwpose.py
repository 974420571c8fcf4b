"""DWPose, the estimator MimicMotion was trained on: a YOLOX person detector and a whole-body SimCC network, in ONNX."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime

from model.artifacts import sha256
from model.estimators.dwpose_codec import (
    DETECTOR_ROWS,
    DETECTOR_SIZE,
    POSE_HEIGHT,
    POSE_WIDTH,
    SIMCC_STEPS,
    decode_keypoints,
    decode_people,
    letterbox,
    pose_input,
    pose_region,
)
from model.estimators.tracking import BoxTracker
from model.keypoints import NUM_KEYPOINTS, PersonPose

logger = logging.getLogger(__name__)

Style = Literal["default", "released"]
Shape = tuple[int, ...]

_DETECTOR_INPUT: Shape = (3, DETECTOR_SIZE, DETECTOR_SIZE)
_DETECTOR_OUTPUTS: list[Shape] = [(DETECTOR_ROWS, 85)]
_POSE_INPUT: Shape = (3, POSE_HEIGHT, POSE_WIDTH)
_POSE_OUTPUTS: list[Shape] = [
    (NUM_KEYPOINTS, SIMCC_STEPS * POSE_WIDTH),
    (NUM_KEYPOINTS, SIMCC_STEPS * POSE_HEIGHT),
]


class DWPose:
    """A ``PoseEstimator`` over local copies of the two released files.

    ``detector`` is yolox_l.onnx, ``pose`` is dw-ll_ucoco_384.onnx. ``device`` is "cpu" or "cuda", "cuda:1", ...; where
    ONNX Runtime has no CUDA the CPU is used, with a warning. ``threads`` bounds the CPU threads of one network, all
    cores by default. In a frame without any person nobody is seen: the released code takes the whole frame for one.

    Raises ``FileNotFoundError`` or ``ValueError``, naming the file, when one is missing, not ONNX, or another network.
    """

    name = "dwpose"
    version = "1"

    def __init__(self, detector: Path, pose: Path, device: str = "cpu", threads: int | None = None) -> None:
        providers = _providers(device)
        self._detector = _session(detector, providers, threads, _DETECTOR_INPUT, _DETECTOR_OUTPUTS)
        self._pose = _session(pose, providers, threads, _POSE_INPUT, _POSE_OUTPUTS)
        self.digest = hashlib.sha256(f"{sha256(detector)} {sha256(pose)}".encode()).hexdigest()

    def track(self, frames: Iterable[np.ndarray]) -> Iterator[list[PersonPose]]:
        """The people of each (H, W, 3) uint8 RGB frame, the surest box first; scores above 1 are cut to 1."""
        tracker = BoxTracker()
        for frame in frames:
            boxes, box_scores = self._boxes(frame)
            people = []
            for person_id, box, box_score in zip(tracker.update(boxes), boxes, box_scores, strict=True):
                keypoints, scores = self._keypoints(frame, box)
                people.append(
                    PersonPose(
                        person_id,
                        keypoints.astype(np.float32),
                        scores.clip(0, 1).astype(np.float32),
                        box.astype(np.float32),
                        min(1.0, float(box_score)),
                    )
                )
            yield people

    def _boxes(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels, scale = letterbox(frame)
        (rows,) = _run(self._detector, pixels.astype(np.float32))
        return decode_people(rows, scale)

    def _keypoints(self, frame: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        centre, size = pose_region(box)
        simcc_x, simcc_y = _run(self._pose, pose_input(frame, centre, size))
        return decode_keypoints(simcc_x, simcc_y, centre, size)


def _providers(device: str) -> list[str | tuple[str, dict[str, int]]]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    kind, _, index = device.partition(":")
    if kind == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return [("CUDAExecutionProvider", {"device_id": int(index or 0)}), "CPUExecutionProvider"]
    logger.warning("DWPose runs on the CPU: this ONNX Runtime cannot use device %r (onnxruntime-gpu can)", device)
    return ["CPUExecutionProvider"]


def _session(
    path: Path,
    providers: list[str | tuple[str, dict[str, int]]],
    threads: int | None,
    takes: Shape,
    gives: list[Shape],
) -> onnxruntime.InferenceSession:
    """The network in a file, checked to take and give arrays of these shapes after the batch axis."""
    if not path.is_file():
        raise FileNotFoundError(f"DWPose network {path}: no such file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    try:
        session = onnxruntime.InferenceSession(path, options, providers)
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ValueError(f"DWPose network {path}: ONNX Runtime cannot load it: {error}") from error
    if providers[0] != "CPUExecutionProvider" and session.get_providers() == ["CPUExecutionProvider"]:
        logger.warning("DWPose network %s runs on the CPU: CUDA could not be started", path)
    found = [node.shape[1:] for node in (*session.get_inputs(), *session.get_outputs())]
    expected = [takes, *gives]
    if len(found) != len(expected) or not all(map(_fits, found, expected)):
        raise ValueError(f"DWPose network {path}: arrays of shape {found} in and out, expected {expected}")
    return session


def _fits(shape: list[int | str | None], expected: Shape) -> bool:
    """Whether a declared shape allows the expected one: exporters may leave sizes, or the whole shape, open."""
    return not shape or (
        len(shape) == len(expected)
        and all(not isinstance(size, int) or size == wanted for size, wanted in zip(shape, expected, strict=True))
    )


def _run(session: onnxruntime.InferenceSession, picture: np.ndarray) -> list[np.ndarray]:
    """One picture through a network: its outputs without the batch axis."""
    return [output[0] for output in session.run(None, {session.get_inputs()[0].name: picture[None]})]
