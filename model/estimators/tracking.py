"""Who is who along a video: boxes to stable ids, and people per frame to one person's sequence."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

from model.estimators import PoseEstimator
from model.keypoints import PersonPose, PoseSequence

MIN_IOU = 0.2  # one person's box keeps this much even when an arm is thrown out; neighbours rarely share as much
PATIENCE = 30  # frames: about a second, the time to pass behind somebody
BLIP_FRAMES = 12  # a false find is followed for one or two rounds of detection, not for half a second
BLIP_SHARE = 0.05  # of a clip so short that 12 frames are a part of it worth counting


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """(..., 4) boxes x0 y0 x1 y1 to (...) areas, 0 for a box turned inside out."""
    return np.maximum(boxes[..., 2] - boxes[..., 0], 0) * np.maximum(boxes[..., 3] - boxes[..., 1], 0)


def box_ious(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of each of (N, 4) with each of (M, 4) boxes: (N, M) in 0..1, 0 for empty boxes."""
    corners = np.maximum(first[:, None, :2], second[None, :, :2]), np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = box_areas(np.concatenate(corners, axis=-1))
    union = box_areas(first)[:, None] + box_areas(second)[None] - shared
    return np.divide(shared, union, out=np.zeros(union.shape), where=union > 0)


def pair_greedily(affinity: np.ndarray, least: float) -> list[tuple[int, int]]:
    """Pairs (row, column) of an (N, M) affinity, the best first, each row and column once, none below ``least``."""
    affinity = affinity.copy()
    pairs = []
    while affinity.size and affinity.max() >= least:
        row, column = np.unravel_index(np.argmax(affinity), affinity.shape)
        pairs.append((int(row), int(column)))
        affinity[row, :] = affinity[:, column] = -np.inf
    return pairs


class BoxTracker:
    """Stable ids for the boxes of consecutive frames.

    A box takes the id of the box it overlaps most, also of one out of sight for up to ``PATIENCE`` frames. A box that
    overlaps none takes the id of whoever vanished since the last frame with people in it, the nearest first: at a cut
    everybody is elsewhere at once, and a lone dancer who leaves the picture is the one who comes back. Otherwise it is
    somebody new.
    """

    def __init__(self) -> None:
        self._boxes: dict[int, np.ndarray] = {}
        self._last_frame: dict[int, int] = {}
        self._last_company: list[int] = []
        self._frame = 0
        self._next_id = 0

    def update(self, boxes: np.ndarray, known: Sequence[int | None] = ()) -> list[int]:
        """Ids of the (N, 4) boxes of the next frame, each one once; ``known`` ids of this tracker are kept as given."""
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        ids: list[int | None] = list(known) or [None] * len(boxes)
        recent = [track for track, frame in self._last_frame.items() if self._frame - frame <= PATIENCE]
        self._claim(ids, boxes, recent, by_overlap=True)
        self._claim(ids, boxes, self._last_company, by_overlap=False)
        settled = []
        for box, track in zip(boxes, ids, strict=True):
            if track is None:
                track, self._next_id = self._next_id, self._next_id + 1
            self._boxes[track], self._last_frame[track] = box, self._frame
            settled.append(track)
        self._last_company = settled or self._last_company
        self._frame += 1
        return settled

    def _claim(self, ids: list[int | None], boxes: np.ndarray, tracks: Sequence[int], by_overlap: bool) -> None:
        free_boxes = [index for index, track in enumerate(ids) if track is None]
        free_tracks = [track for track in tracks if track not in ids]
        if not free_boxes or not free_tracks:
            return
        wanted, held = boxes[free_boxes], np.stack([self._boxes[track] for track in free_tracks])
        if by_overlap:
            pairs = pair_greedily(box_ious(wanted, held), MIN_IOU)
        else:
            offsets = (wanted[:, None, :2] + wanted[:, None, 2:] - held[None, :, :2] - held[None, :, 2:]) / 2
            pairs = pair_greedily(-np.linalg.norm(offsets, axis=-1), np.finfo(np.float64).min)
        for box, track in pairs:
            ids[free_boxes[box]] = free_tracks[track]


def follow_person(frames: Sequence[list[PersonPose]], width: int, height: int, person: int = 1) -> PoseSequence:
    """One person of a video of ``width`` x ``height`` pixels, all frames long.

    ``person`` 1 is the one with the largest sum of box areas over the frames: largest and longest in view. Where that
    person is out of view the scores are 0; ``people`` counts everybody. Nobody in any frame gives an empty sequence.
    Raises ``ValueError`` when ``person`` is below 1 or above the number of people found.
    """
    shown: defaultdict[int, float] = defaultdict(float)
    for people in frames:
        for pose in people:
            shown[pose.person_id] += float(box_areas(pose.box))
    if person < 1:
        raise ValueError(f"person {person}: people are counted from 1, the largest and longest in view")
    sequence = PoseSequence.empty(len(frames), width, height)
    if not shown:
        return sequence
    if person > len(shown):
        raise ValueError(f"person {person}: {len(shown)} found in these {len(frames)} frames")
    wanted = sorted(shown, key=lambda track: (-shown[track], track))[person - 1]
    for index, people in enumerate(frames):
        sequence.people[index] = len(people)
        for pose in people:
            if pose.person_id == wanted:
                sequence.keypoints[index], sequence.scores[index] = pose.keypoints, pose.scores
                sequence.boxes[index], sequence.box_scores[index] = pose.box, pose.box_score
    return sequence


def track_person(estimator: PoseEstimator, frames: Iterable[np.ndarray], person: int = 1) -> PoseSequence:
    """One person's poses through consecutive frames, (H, W, 3) uint8 RGB each, all of one size; a picture is one frame.

    Raises ``ValueError`` when there is no frame, or no ``person``-th person.
    """
    size: tuple[int, ...] = ()

    def watched() -> Iterator[np.ndarray]:
        nonlocal size
        for frame in frames:
            size = frame.shape
            yield frame

    people = list(estimator.track(watched()))
    if not people:
        raise ValueError("no frames to look for a person in")
    return follow_person(people, size[1], size[0], person)


def lasting_people(in_view: Mapping[int, int], frames: int) -> set[int]:
    """Ids of those whom ``count_people`` counts, from the number of frames that each is in view, of ``frames``."""
    return {person for person, count in in_view.items() if count_in_view([count], frames)}


def count_people(frames: Sequence[list[PersonPose]]) -> int:
    """How many different people the frames show, without those in view only for a blip.

    In a clip of one frame everybody counts; in a long one whoever is in view for ``BLIP_FRAMES`` frames.
    """
    in_view = Counter(pose.person_id for people in frames for pose in people)
    return count_in_view(in_view.values(), len(frames))


def count_in_view(frames_in_view: Iterable[int], frames: int) -> int:
    """``count_people`` from the number of frames that each person is in view, of ``frames`` in all."""
    least = min(BLIP_FRAMES, BLIP_SHARE * frames)
    return sum(count >= least for count in frames_in_view)


def most_prominent(ids: Sequence[int], boxes: np.ndarray, followed: Collection[int], limit: int) -> list[int]:
    """Which of a frame's people are kept when at most ``limit`` may be: places in ``ids``, rising.

    ``boxes`` (N, 4) are theirs. Whoever was ``followed`` in the frame before comes first, then the largest, so that a
    crowd behind a dancer does not take her place from frame to frame.
    """
    areas = box_areas(np.asarray(boxes, np.float64).reshape(-1, 4))
    order = sorted(range(len(ids)), key=lambda place: (ids[place] not in followed, -areas[place], ids[place]))
    return sorted(order[:limit])
