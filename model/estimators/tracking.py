"""Who is who along a video: boxes to stable ids, and people per frame to one person's sequence."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from model.estimators import PoseEstimator
from model.keypoints import PersonPose, PoseSequence

MIN_IOU = 0.2  # one person's box keeps this much even when an arm is thrown out; neighbours rarely share as much
NEAR = 0.5  # heights of a box from where somebody would be who goes on as before
CLEARLY = 0.5  # times as far: two who met fit each other's way so much better
PATH = 10  # frames, two thirds of a second, that somebody's pace is the median of
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


@dataclass(frozen=True, eq=False)
class _Track:
    """Somebody as last seen: the frame and the (4,) box then, and the middles of boxes in the last frames up to it."""

    frame: int
    box: np.ndarray
    path: tuple[tuple[int, np.ndarray], ...]

    def seen(self, frame: int, box: np.ndarray) -> _Track:
        return _Track(frame, box, (*self.path[1 - PATH :], (frame, _middle(box))))

    def expected(self, frame: int) -> np.ndarray:
        """(2,) where the middle would be by then, had nothing changed. The median: boxes jump where people meet."""
        moves = [(there - here) / (later - earlier) for (earlier, here), (later, there) in pairwise(self.path)]
        pace = np.median(moves, axis=0) if moves else np.zeros(2)
        return np.asarray(self.path[-1][1] + pace * (frame - self.frame))

    def apart(self, boxes: np.ndarray, frame: int) -> np.ndarray:
        """(...,) how far the middles of (..., 4) boxes are from this one's, expected by ``frame``, in its heights."""
        distance = np.linalg.norm(_middle(boxes) - self.expected(frame), axis=-1)
        return np.asarray(distance / max(self.box[3] - self.box[1], 1.0))


class BoxTracker:
    """Stable ids for the boxes of consecutive frames.

    A box takes the id of the box it overlaps most, also of one out of sight for up to ``PATIENCE`` frames; else that of
    somebody out of sight who would be near by now, going on as before. A box that fits nobody takes the id of whoever
    vanished since the last frame with people in it, the nearest first: at a cut everybody is elsewhere at once, and a
    lone dancer who leaves the picture is the one who comes back. Otherwise it is somebody new.

    Of two who meet, of whom one is then hidden by the other, it is seen when both are in sight again which is which:
    each has gone on as before, or they have changed places.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self._hidden: dict[int, dict[int, _Track]] = {}
        self._present: list[int] = []
        self._last_company: list[int] = []
        self._frame = 0
        self._next_id = 0

    def update(self, boxes: np.ndarray, known: Sequence[int | None] = ()) -> list[int]:
        """Ids of the (N, 4) boxes of the next frame, each one once.

        ``known`` ids of this tracker are kept as given, except for those of people who were taken for each other.
        """
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        ids: list[int | None] = list(known) or [None] * len(boxes)
        recent = [track for track, last in self._tracks.items() if self._frame - last.frame <= PATIENCE]
        self._hidden = {track: fronts for track, fronts in self._hidden.items() if track in recent}
        # Who was in sight a moment ago comes first: who passes a place is not who was last seen there.
        self._claim(ids, boxes, self._present, self._overlaps, MIN_IOU)
        self._claim(ids, boxes, recent, self._overlaps, MIN_IOU)
        self._claim(ids, boxes, recent, self._closeness, -NEAR)
        self._claim(ids, boxes, self._last_company, self._closeness, np.finfo(np.float64).min)
        self._tell_apart(ids, boxes)
        settled = []
        for track in ids:
            if track is None:
                track, self._next_id = self._next_id, self._next_id + 1
            settled.append(track)
        self._hide([track for track in self._present if track not in settled], settled)
        for box, track in zip(boxes, settled, strict=True):
            self._tracks[track] = self._tracks.get(track, _Track(self._frame, box, ())).seen(self._frame, box)
            self._hidden.pop(track, None)
        self._present = settled
        self._last_company = settled or self._last_company
        self._frame += 1
        return settled

    def _claim(
        self,
        ids: list[int | None],
        boxes: np.ndarray,
        tracks: Sequence[int],
        affinity: Callable[[np.ndarray, Sequence[int]], np.ndarray],
        least: float,
    ) -> None:
        free_boxes = [index for index, track in enumerate(ids) if track is None]
        free_tracks = [track for track in tracks if track not in ids]
        if not free_boxes or not free_tracks:
            return
        for box, track in pair_greedily(affinity(boxes[free_boxes], free_tracks), least):
            ids[free_boxes[box]] = free_tracks[track]

    def _overlaps(self, boxes: np.ndarray, tracks: Sequence[int]) -> np.ndarray:
        return box_ious(boxes, np.stack([self._tracks[track].box for track in tracks]))

    def _closeness(self, boxes: np.ndarray, tracks: Sequence[int]) -> np.ndarray:
        """Less than 0: the distance from where somebody would be, in heights of their box."""
        return -np.stack([self._tracks[track].apart(boxes, self._frame) for track in tracks], axis=-1)

    def _hide(self, vanished: Sequence[int], present: Sequence[int]) -> None:
        """Keep, of each who vanished and of those who may be in front, how they moved up to now."""
        for track in vanished:
            mine = self._tracks[track]
            others = [other for other in present if other in self._present]
            near = [other for other in others if self._tracks[other].apart(mine.box, mine.frame) <= NEAR]
            self._hidden[track] = {other: self._tracks[other] for other in near}

    def _tell_apart(self, ids: list[int | None], boxes: np.ndarray) -> None:
        """Change ids where somebody is back in sight, and they and who hid them fit each other's way better."""
        middles = _middle(boxes)
        met = [(hidden, front, before) for hidden, each in self._hidden.items() for front, before in each.items()]
        for hidden, front, before in met:
            if front not in ids:
                continue
            place = ids.index(front)
            ways = np.stack([self._tracks[hidden].expected(self._frame), before.expected(self._frame)])
            unknown = [index for index, track in enumerate(ids) if track is None]
            for index in [ids.index(hidden)] if hidden in ids else unknown:
                as_before = np.linalg.norm(middles[[index, place]] - ways, axis=1).sum()
                if np.linalg.norm(middles[[place, index]] - ways, axis=1).sum() < CLEARLY * as_before:
                    ids[index], ids[place] = front, hidden
                    break


def _middle(boxes: np.ndarray) -> np.ndarray:
    """(..., 4) boxes to (..., 2)."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


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
