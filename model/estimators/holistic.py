"""Whole-body pose of several people with MediaPipe's Holistic networks on LiteRT, CPU only."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from model.estimators.blazepose_geometry import (
    Detection,
    Square,
    anchor_centres,
    body_square,
    carry,
    cut_out,
    decode_detections,
    face_search_square,
    face_square,
    hand_square,
    recropped_hand_square,
    refine_with_heatmap,
    search_squares,
    sigmoid,
)
from model.estimators.holistic_weights import HOLISTIC_DIGEST, check_weights
from model.estimators.mediapipe_to_coco import whole_body
from model.estimators.tracking import BoxTracker
from model.keypoints import BODY, RELIABLE, PersonPose

PRESENT = 0.5  # below this flag nobody is in the square, as in MediaPipe
DETECTED = 0.5  # as in MediaPipe
HAND_IN_VIEW = 0.1  # visibility of the wrist, as in MediaPipe
MAX_PEOPLE = 4  # followed at once, unless somebody wants more
DETECT_EVERY = 8  # frames between looks for further people: 2-8 ms a frame, and a third of a second late at most
SAME_PLACE = 0.1  # of the square's side between two middles of hips: a find this close is somebody followed already
SAME_BODY = 0.05  # of the square's side, median over the landmarks: two squares that have come to show one person


@dataclass(frozen=True, eq=False)
class _Body:
    """``points`` (33, 2) pixels; ``visibility`` and ``scores`` (33,) in 0..1; ``next_square``: where to look next."""

    points: np.ndarray
    visibility: np.ndarray
    scores: np.ndarray
    flag: float
    next_square: Square


class _Network:
    """One TFLite network: (size, size, 3) uint8 pixels in, all its outputs out, without the batch axis.

    Pixels become float32 in 0..1, or in -1..1 if ``signed``.
    """

    def __init__(self, interpreter: Any, signed: bool = False) -> None:
        interpreter.allocate_tensors()
        self._interpreter = interpreter
        self._input = interpreter.get_input_details()[0]
        self._pixels = interpreter.tensor(self._input["index"])
        self._outputs = [output["index"] for output in interpreter.get_output_details()]
        self.size = int(self._input["shape"][1])
        levels = np.arange(256, dtype=np.float32)
        self._values = (np.arange(256) / 127.5 - 1).astype(np.float32) if signed else levels / np.float32(255)

    def __call__(self, picture: np.ndarray) -> list[np.ndarray]:
        # Straight into the network's own memory, of which nobody may hold a view while it computes.
        cv2.LUT(picture, self._values, dst=self._pixels()[0])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index)[0] for index in self._outputs]


_T = TypeVar("_T")
_Look = Generator[tuple[_Network, np.ndarray], list[np.ndarray], _T]
"""Asks for what a network sees in a picture, is sent its outputs, and returns what was found."""


class Holistic:
    """The ``PoseEstimator`` that runs anywhere: about a tenth of a second of one core for each person and frame.

    ``weights`` is a folder as ``holistic_weights`` returns it; ``threads`` are used by each network; at most
    ``max_people`` are followed at once. Neither picklable nor to be shared between threads: one a process.
    Raises ``ImportError`` without ai-edge-litert, and as ``check_weights``.
    """

    name = "holistic"
    version = "2"
    digest = HOLISTIC_DIGEST

    def __init__(self, weights: Path, threads: int = 1, max_people: int = MAX_PEOPLE) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter

            from model.estimators.tflite_graph import with_outputs
        except ImportError as error:
            raise ImportError("the holistic pose backend runs on LiteRT: pip install ai-edge-litert") from error
        check_weights(weights)

        def network(name: str, outputs: Sequence[int] | None = None, signed: bool = False) -> _Network:
            path = weights / f"{name}.tflite"
            file: dict[str, Any] = {"model_path": str(path)}
            if outputs is not None:
                file = {"model_content": with_outputs(path, outputs)}
            return _Network(Interpreter(**file, num_threads=threads), signed)

        self._person_detector = network("pose_detection", signed=True)
        # All but the outline of the body, which takes a tenth of the time, and landmarks in metres.
        self._body = network("pose_landmark_heavy", (0, 1, 3))
        self._hand_recrop = network("hand_recrop")
        self._hand = network("hand_landmark_full", (0, 1))
        self._face_detector = network("face_detection_short_range", signed=True)
        self._face = network("face_landmark")
        self._person_anchors = anchor_centres(self._person_detector.size, (8, 16, 32, 32, 32))
        self._face_anchors = anchor_centres(self._face_detector.size, (8, 16, 16, 16))
        self._max_people = max_people

    def track(self, frames: Iterable[np.ndarray]) -> Iterator[list[PersonPose]]:
        """The people of each frame, as ``PoseEstimator.track``.

        Each person's square comes from the landmarks of the frame before; the detector runs where somebody was lost,
        where nobody is followed, and every ``DETECT_EVERY`` frames. Keypoints may lie outside the frame, boxes do not.
        """
        tracker = BoxTracker()
        followed: list[tuple[int, Square]] = []
        for index, pixels in enumerate(frames):
            frame = cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA)
            found = [(track, self._find_body(frame, square)) for track, square in followed]
            people = _distinct([(track, body) for track, body in found if body.flag >= PRESENT])
            known: list[int | None] = [track for track, _ in people]
            bodies = [body for _, body in people]
            if len(bodies) < len(followed) or not bodies or index % DETECT_EVERY == 0:
                bodies += self._find_others(frame, bodies)
                known += [None] * (len(bodies) - len(known))
            poses = [self._describe(frame, body) for body in bodies]
            boxes = [_box_of(keypoints, scores, frame) for keypoints, scores in poses]
            tracks = tracker.update(np.array(boxes), known)
            followed = [(track, body.next_square) for track, body in zip(tracks, bodies, strict=True)]
            yield [
                PersonPose(track, keypoints, scores, box, body.flag)
                for track, (keypoints, scores), box, body in zip(tracks, poses, boxes, bodies, strict=True)
            ]

    def _find_others(self, frame: np.ndarray, followed: list[_Body]) -> list[_Body]:
        """People that the detector finds beside those followed, within ``max_people``."""
        height, width = frame.shape[:2]
        others: list[_Body] = []
        for search in search_squares(width, height):
            (found,) = _in_step([self._detect(self._person_detector, self._person_anchors, frame, search)])
            for detection in found:
                if len(followed) + len(others) >= self._max_people:
                    return others
                square = body_square(*detection.points[:2].tolist())
                if any(_hips_apart(square, body) < SAME_PLACE for body in (*followed, *others)):
                    continue
                body = self._find_body(frame, square)
                if body.flag >= PRESENT and not any(_same(body, other) for other in (*followed, *others)):
                    others.append(body)
        return others

    def _find_body(self, frame: np.ndarray, square: Square) -> _Body:
        size = self._body.size
        picture, to_frame = cut_out(frame, square, size, cv2.BORDER_REPLICATE)
        landmarks, flag, heatmap = self._body(picture)
        landmarks = landmarks.reshape(39, 5)
        points = carry(to_frame, refine_with_heatmap(landmarks[:, :2], heatmap, size))
        visibility = sigmoid(landmarks[:33, 3])
        scores = visibility * sigmoid(landmarks[:33, 4])
        next_square = body_square(*points[33:35].tolist())
        return _Body(points[:33], visibility, scores, min(max(float(flag[0]), 0.0), 1.0), next_square)

    def _describe(self, frame: np.ndarray, body: _Body) -> tuple[np.ndarray, np.ndarray]:
        left, right = self._find_hand(frame, body, 15, 17, 19), self._find_hand(frame, body, 16, 18, 20)
        left_hand, right_hand, face = _in_step([left, right, self._find_face(frame, body)])
        return whole_body(body.points, body.scores, (left_hand, right_hand), face)

    def _find_hand(
        self, frame: np.ndarray, body: _Body, wrist: int, pinky: int, index: int
    ) -> _Look[tuple[np.ndarray, float]]:
        """(21, 2) pixels and presence in 0..1, both 0 where the wrist is out of view."""
        if body.visibility[wrist] < HAND_IN_VIEW:
            return np.zeros((21, 2)), 0.0
        square = hand_square(*body.points[[wrist, index, pinky]].tolist())
        picture, to_frame = cut_out(frame, square, self._hand_recrop.size, cv2.BORDER_REPLICATE)
        (crop,) = yield self._hand_recrop, picture
        centre, rim = carry(to_frame, crop.reshape(2, 2)).tolist()
        picture, to_frame = cut_out(frame, recropped_hand_square(centre, rim), self._hand.size, cv2.BORDER_REPLICATE)
        landmarks, presence = yield self._hand, picture
        return carry(to_frame, landmarks.reshape(21, 3)[:, :2]), float(presence[0])

    def _find_face(self, frame: np.ndarray, body: _Body) -> _Look[tuple[np.ndarray, float]]:
        """(468, 2) pixels and score in 0..1, both 0 where no face is seen."""
        search = face_search_square(body.points[:11].tolist())
        faces = yield from self._detect(self._face_detector, self._face_anchors, frame, search)
        if not faces:
            return np.zeros((468, 2)), 0.0
        picture, to_frame = cut_out(frame, face_square(faces[0].points.tolist()), self._face.size, cv2.BORDER_REPLICATE)
        mesh, flag = yield self._face, picture
        return carry(to_frame, mesh.reshape(468, 3)[:, :2]), float(sigmoid(flag.ravel()[0]))

    def _detect(
        self, detector: _Network, anchors: np.ndarray, frame: np.ndarray, square: Square
    ) -> _Look[list[Detection]]:
        picture, to_frame = cut_out(frame, square, detector.size, cv2.BORDER_CONSTANT)
        regressions, logits = yield detector, picture
        found = decode_detections(regressions, logits[:, 0], anchors, detector.size, DETECTED)
        return [Detection(detection.score, carry(to_frame, detection.points)) for detection in found]


def _in_step(looks: Sequence[_Look[_T]]) -> list[_T]:
    """What each look finds. All cut out what they want to see next, then the networks run on it, one after another.

    A network leaves nothing in the caches but itself: the first cut-out after one takes twice as long as the second.
    """
    found = dict[int, _T]()
    answers: dict[int, Any] = dict.fromkeys(range(len(looks)))
    while answers:
        asked = dict[int, tuple[_Network, np.ndarray]]()
        for place, answer in answers.items():
            try:
                asked[place] = looks[place].send(answer)
            except StopIteration as end:
                found[place] = end.value
        answers = {place: network(picture) for place, (network, picture) in asked.items()}
    return [found[place] for place in range(len(looks))]


def _hips_apart(square: Square, body: _Body) -> float:
    """Between the middles of two people's hips, in sides of the body's square."""
    return float(np.hypot(square.x - body.next_square.x, square.y - body.next_square.y)) / body.next_square.side


def _same(first: _Body, second: _Body) -> bool:
    apart = np.median(np.linalg.norm(first.points - second.points, axis=1))
    return bool(apart < SAME_BODY * max(first.next_square.side, second.next_square.side))


def _distinct(people: list[tuple[int, _Body]]) -> list[tuple[int, _Body]]:
    """Each body once: of two squares that have converged on one person, the track followed longer stays."""
    kept: list[tuple[int, _Body]] = []
    for track, body in sorted(people, key=lambda person: person[0]):
        if not any(_same(body, other) for _, other in kept):
            kept.append((track, body))
    return kept


def _box_of(keypoints: np.ndarray, scores: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """(4,) float32: around the keypoints that are seen, or the body's where hardly any is; cut at the frame."""
    seen = scores >= RELIABLE
    if seen.sum() < 2:
        seen = np.zeros_like(seen)
        seen[BODY] = True
    points = keypoints[seen]
    height, width = frame.shape[:2]
    corners = np.concatenate([points.min(axis=0), points.max(axis=0)])
    return corners.clip(0, np.array([width, height, width, height])).astype(np.float32)
