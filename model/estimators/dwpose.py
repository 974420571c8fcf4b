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
from model.estimators.tracking import BoxTracker, most_prominent
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
    cores by default. At most ``max_people`` are estimated in a frame, everybody by default; all of a frame go through
    the pose network as one batch, where the file allows batches. In a frame without any person nobody is seen: the
    released code takes the whole frame for one.

    Raises ``FileNotFoundError`` or ``ValueError``, naming the file, when one is missing, not ONNX, or another network.
    """

    name = "dwpose"
    version = "2"

    def __init__(
        self,
        detector: Path,
        pose: Path,
        device: str = "cpu",
        threads: int | None = None,
        max_people: int | None = None,
    ) -> None:
        providers = _providers(device)
        self._max_people = max_people
        self._detector = _session(detector, providers, threads, _DETECTOR_INPUT, _DETECTOR_OUTPUTS)
        self._pose = _session(pose, providers, threads, _POSE_INPUT, _POSE_OUTPUTS)
        self._batches = _takes_batches(self._pose)
        self.digest = hashlib.sha256(f"{sha256(detector)} {sha256(pose)}".encode()).hexdigest()

    def track(self, frames: Iterable[np.ndarray]) -> Iterator[list[PersonPose]]:
        """The people of each (H, W, 3) uint8 RGB frame, the surest box first; scores above 1 are cut to 1."""
        tracker = BoxTracker()
        followed: set[int] = set()
        for frame in frames:
            boxes, box_scores = self._boxes(frame)
            ids = tracker.update(boxes)
            kept = list(range(len(ids)))
            if self._max_people is not None:
                kept = most_prominent(ids, boxes, followed, self._max_people)
            followed = {ids[place] for place in kept}
            poses = self._keypoints(frame, [boxes[place] for place in kept])
            yield [
                PersonPose(
                    ids[place],
                    keypoints.astype(np.float32),
                    scores.clip(0, 1).astype(np.float32),
                    boxes[place].astype(np.float32),
                    min(1.0, float(box_scores[place])),
                )
                for place, (keypoints, scores) in zip(kept, poses, strict=True)
            ]

    def _boxes(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels, scale = letterbox(frame)
        (rows,) = _run(self._detector, pixels.astype(np.float32)[None])
        return decode_people(rows[0], scale)

    def _keypoints(self, frame: np.ndarray, boxes: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(133, 2) pixels and (133,) scores of the person in each box."""
        regions = [pose_region(box) for box in boxes]
        pictures = [pose_input(frame, *region) for region in regions]
        at_once = len(pictures) if self._batches else 1
        for start in range(0, len(pictures), at_once or 1):
            simcc_x, simcc_y = _run(self._pose, np.stack(pictures[start : start + at_once]))
            for row, region in enumerate(regions[start : start + at_once]):
                yield decode_keypoints(simcc_x[row], simcc_y[row], *region)


def _providers(device: str) -> list[str | tuple[str, dict[str, int]]]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    kind, _, index = device.partition(":")
    if kind == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        # CUDA's libraries may lie in packages of pip's, where nobody looks who does not import torch.
        onnxruntime.preload_dlls()
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


def _takes_batches(session: onnxruntime.InferenceSession) -> bool:
    """Whether it answers two crops at once; an open batch axis is a promise that not every export keeps."""
    shape = session.get_inputs()[0].shape
    if shape and isinstance(shape[0], int):
        return False
    try:
        outputs = _run(session, np.zeros((2, *_POSE_INPUT), np.float32))
    except Exception:  # ONNX Runtime's errors share no base class
        return False
    return [output.shape for output in outputs] == [(2, *shape) for shape in _POSE_OUTPUTS]


def _run(session: onnxruntime.InferenceSession, pictures: np.ndarray) -> list[np.ndarray]:
    """A batch of pictures through a network: its outputs, batch axis first."""
    return list(session.run(None, {session.get_inputs()[0].name: pictures}))
