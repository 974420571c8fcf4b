"""Which stretches of a video are clips to train on, and why the others are not. Pure functions of its poses' measures.

Every frame of a video is in exactly one stretch for each length (with the default overlap of 0): a clip, or a stretch
that was left out with its reason.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from model.estimators.tracking import lasting_people
from pipeline.pose_measures import Measures

CUT = "cut"
NOBODY = "nobody"
SEVERAL = "several people"
DARK = "too dark a skeleton"
STILL = "too little motion"
REASONS = (CUT, NOBODY, SEVERAL, DARK, STILL)
"""Why a stretch is left out. ``CUT``: too short for a clip before the next cut or the end of the video."""

_NO_ROW = -1


def _setting(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True)
class ClipSettings:
    """Which clips are wanted. Raises ``ValueError`` naming the setting."""

    length: tuple[int, ...] = _setting((16, 72), "frames of a clip; may be given several times")
    overlap: int = _setting(0, "frames that neighbouring clips of one length may share")
    people: Literal["alone", "main"] = _setting(
        "alone", "alone: one person in sight; main: the largest and longest in view of a shot, whoever else is there"
    )
    min_confidence: float = _setting(0.3, "a frame whose mean body score is lower is too dark a skeleton")
    min_motion: float = _setting(0.05, "a clip whose body moves less has too little motion, in box heights a second")

    def __post_init__(self) -> None:
        if not self.length or not all(2 <= length <= 100_000 for length in self.length):
            raise ValueError(f"length is {self.length!r}, expected whole numbers from 2 to 100,000")
        if len(set(self.length)) < len(self.length):
            raise ValueError(f"length is {self.length!r}, expected different numbers")
        if not 0 <= self.overlap < min(self.length):
            raise ValueError(f"overlap is {self.overlap!r}, expected 0 to {min(self.length) - 1}, less than a clip")
        if self.people not in ("alone", "main"):
            raise ValueError(f"people is {self.people!r}, expected alone or main")
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence is {self.min_confidence!r}, expected 0 to 1")
        if not 0 <= self.min_motion <= 1000:
            raise ValueError(f"min_motion is {self.min_motion!r}, expected 0 to 1000")


@dataclass(frozen=True)
class Stretch:
    """Frames ``start`` to ``stop`` - 1 of a video, for clips of ``length``: a clip if there is no ``reason``."""

    length: int
    start: int
    stop: int
    reason: str | None


@dataclass(frozen=True, eq=False)
class Timeline:
    """What every frame of a video is, F frames.

    ``shot`` (F,) int64, counted from 0; ``row`` (F,) int64, the row of ``measures`` of the frame's person, -1 where
    there is none; ``reason`` (F,) object, why the frame can be in no clip, ``None`` where it can.
    """

    measures: Measures
    shot: np.ndarray
    row: np.ndarray
    reason: np.ndarray

    @cached_property
    def person(self) -> np.ndarray:
        """(F,) int64: id of the frame's person, -1 where there is none."""
        return np.where(self.row == _NO_ROW, -1, self.measures.person[self.row] if len(self.measures) else -1)


def timeline(measures: Measures, frames: int, cuts: Sequence[int], settings: ClipSettings) -> Timeline:
    """Each frame's shot, person and fitness.

    ``measures`` is of everybody; ``cuts`` are the frames at which a new shot begins. Whoever is in view only for a blip
    (see ``lasting_people``) is nobody. Raises ``ValueError`` when there are rows or cuts outside of ``frames``.
    """
    if len(measures) and not 0 <= measures.frame[0] <= measures.frame[-1] < frames:
        raise ValueError(f"poses of frames {measures.frame[0]} to {measures.frame[-1]}, the video has {frames}")
    if not all(0 <= cut < frames for cut in cuts):
        raise ValueError(f"cuts at {list(cuts)}, the video has frames 0 to {frames - 1}")
    lasting = lasting_people(Counter(measures.person.tolist()), frames)
    measures = measures[np.isin(measures.person, list(lasting))]
    starts = np.zeros(frames, np.int64)
    starts[[cut for cut in cuts if cut > 0]] = 1
    shot = np.cumsum(starts)

    present = np.bincount(measures.frame, minlength=frames)
    reason = np.full(frames, None, object)
    row = np.full(frames, _NO_ROW)
    alone = settings.people == "alone"
    chosen = np.flatnonzero(present[measures.frame] == 1) if alone else _main_rows(measures, shot[measures.frame])
    row[measures.frame[chosen]] = chosen
    reason[row == _NO_ROW] = NOBODY
    if alone:
        reason[present > 1] = SEVERAL
    reason[measures.frame[chosen[measures.confidence[chosen, 0] < settings.min_confidence]]] = DARK
    return Timeline(measures, shot, row, reason)


def _main_rows(measures: Measures, shot: np.ndarray) -> np.ndarray:
    """Rows of the person with the largest sum of box areas in each shot; of two alike the lower id."""
    if not len(measures):
        return np.zeros(0, np.int64)
    tracks, track = np.unique(np.stack([shot, measures.person]), axis=1, return_inverse=True)
    track = track.reshape(-1)
    areas = np.bincount(track, weights=measures.area.astype(np.float64))
    best = np.lexsort((tracks[1], -areas, tracks[0]))
    main = best[np.unique(tracks[0][best], return_index=True)[1]]
    return np.flatnonzero(np.isin(track, main))


def stretches(line: Timeline, length: int, settings: ClipSettings) -> Iterator[Stretch]:
    """The clips of one length and what lies between them, in order of time.

    Clips are placed as early as possible, which fits in as many as can be.
    """
    frames = len(line.shot)
    person = line.person
    changes = (line.shot[1:] != line.shot[:-1]) | (person[1:] != person[:-1]) | (line.reason[1:] != line.reason[:-1])
    bounds = [0, *(np.flatnonzero(changes) + 1).tolist(), frames] if frames else []
    for start, stop in itertools.pairwise(bounds):
        if line.reason[start] is not None:
            yield Stretch(length, start, stop, line.reason[start])
        else:
            yield from _placed(line, start, stop, length, settings)


def _placed(line: Timeline, start: int, stop: int, length: int, settings: ClipSettings) -> Iterator[Stretch]:
    """Clips in a run of fit frames of one person in one shot, and the rest of it."""
    moving = start + np.flatnonzero(_motion_of_windows(line, start, stop, length) >= settings.min_motion)
    covered = search = start
    while (index := np.searchsorted(moving, search)) < len(moving):
        first = int(moving[index])
        if first > covered:
            yield Stretch(length, covered, first, STILL)
        yield Stretch(length, first, first + length, None)
        covered, search = first + length, first + length - settings.overlap
    if covered < stop:
        # A clip had room, but nothing moved; or there was no room before what comes next.
        yield Stretch(length, covered, stop, STILL if search + length <= stop else _what_ends(line, stop))


def _what_ends(line: Timeline, stop: int) -> str:
    if stop == len(line.shot) or line.shot[stop] != line.shot[stop - 1]:
        return CUT
    return line.reason[stop] or SEVERAL  # somebody else is there now


def motion(line: Timeline, start: int, stop: int) -> float | None:
    """Mean speed of the person's body in frames ``start`` to ``stop`` - 1, in box heights a second."""
    rows = line.row[start + 1 : stop]
    speeds = line.measures.speed[rows[rows != _NO_ROW]]
    known = speeds[~np.isnan(speeds)]
    return float(known.mean(dtype=np.float64)) if len(known) else None


def _motion_of_windows(line: Timeline, start: int, stop: int, length: int) -> np.ndarray:
    """``motion`` of each window of ``length`` frames in a run: (stop - start - length + 1,), 0 where not known."""
    if stop - start < length:
        return np.zeros(0)
    # A window's first frame has moved since a frame that is not in it.
    speeds = line.measures.speed[line.row[start + 1 : stop]].astype(np.float64)
    known = ~np.isnan(speeds)
    sums, counts = (np.concatenate([[0], np.cumsum(values)]) for values in (np.where(known, speeds, 0), known))
    in_window, known_in_window = (total[length - 1 :] - total[: len(total) - length + 1] for total in (sums, counts))
    return np.divide(in_window, known_in_window, out=np.zeros(len(in_window)), where=known_in_window > 0)
