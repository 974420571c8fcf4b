"""What is asked of an extraction, what is to be done for it, and what the table is to hold in the end."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from model.estimators.selection import EstimatorChoice
from pipeline.listing import Listing, Video
from pipeline.pose_store import Kept, Source, State, source_key
from pipeline.quarantine import Quarantined
from pipeline.storage import StorageError

SCHEMA = 3
"""Raise it when the same request would give other rows: every video is then done anew."""


@dataclass(frozen=True)
class Sampling:
    """Which frames are looked at: ``fps`` a second, or every ``stride``-th of the video's own.

    ``people`` is how many are kept in each. Raises ``ValueError`` naming the setting.
    """

    fps: float | None = 15.0
    stride: int | None = None
    people: int = 4

    def __post_init__(self) -> None:
        if (self.fps is None) == (self.stride is None):
            raise ValueError("fps and stride exclude each other: give one of them")
        if self.fps is not None and not (math.isfinite(self.fps) and 0.01 <= self.fps <= 240):
            raise ValueError(f"fps is {self.fps!r}, expected 0.01 to 240")
        if self.stride is not None and not 1 <= self.stride <= 100_000:
            raise ValueError(f"stride is {self.stride!r}, expected a whole number from 1")
        if not 1 <= self.people <= 100:
            raise ValueError(f"people is {self.people!r}, expected 1 to 100")


@dataclass(frozen=True)
class Request:
    """What a person asks for. ``table_bytes`` is how large a table file may grow."""

    videos: str
    output: str
    choice: EstimatorChoice
    sampling: Sampling
    device: str = "cpu"
    workers: int | None = None
    table_bytes: int = 256 << 20
    deadline_s: float = 60.0


class Identity(Protocol):
    """What of an estimator decides poses."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def digest(self) -> str: ...


def settings_of(estimator: Identity, sampling: Sampling) -> dict[str, Any]:
    """All settings that decide a video's rows, as the tables' metadata gives them."""
    about = {"name": estimator.name, "version": estimator.version, "weights": estimator.digest}
    return {"estimator": about, "sampling": dataclasses.asdict(sampling)}


def fingerprint(video_id: str, estimator: Identity, sampling: Sampling) -> str:
    """A hash of everything that decides a video's rows: its contents, the estimator and its weights, the sampling."""
    facts = {"schema": SCHEMA, "video": video_id, **settings_of(estimator, sampling)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


_UNREAD = ("list", "fetch")
"""Stages in which a failure says nothing of the file's contents."""


@dataclass
class Resolved:
    """What is known of the listed URIs: the version and id of each that is finished, and those that failed."""

    finished: dict[str, tuple[str, str]] = field(default_factory=dict)
    failed: dict[str, Quarantined] = field(default_factory=dict)


def split(listing: Listing, state: State, wanted: Callable[[str], str]) -> tuple[Resolved, list[Video]]:
    """The listed videos that are finished, and those that are to be done.

    ``wanted`` gives the fingerprint that a video's rows are to have.
    """
    resolved, todo = Resolved(), []
    resolved.failed = {entry.id or f"row {entry.line}": entry for entry in listing.failed}
    for video in listing.videos:
        video_id = state.by_source.get(source_key((video.uri, video.version)))
        if video_id is not None and state.finished(video_id, wanted(video_id)):
            resolved.finished[video.uri] = video.version, video_id
        else:
            todo.append(video)
    return resolved, todo


def final_videos(resolved: Resolved, state: State, wanted: Callable[[str], str]) -> list[Kept]:
    """What the tables are to hold: videos finished now or before, each once, with everywhere that it was found.

    Stays: what this run's list does not name, and what is as it was. Goes: a listed video whose contents or settings
    are no longer those of its rows, done anew or not. What could not be read this time, for all that is known, has not
    changed. Raises ``StorageError`` where what is finished is not there.
    """
    listed = {*resolved.finished, *resolved.failed}
    read = {uri for uri in listed if uri not in resolved.failed or resolved.failed[uri].stage not in _UNREAD}
    sources: dict[str, set[Source]] = {}
    stale: set[str] = set()
    for video_id, video in state.videos.items():
        sources[video_id] = {source for source in video.sources if source[0] not in read}
        if video.fingerprint != wanted(video_id) and any(uri in listed for uri, _ in video.sources):
            stale.add(video_id)
    done = set()
    for uri, (version, video_id) in resolved.finished.items():
        sources.setdefault(video_id, set()).add((uri, version))
        done.add(video_id)
    final = []
    for video_id, places in sources.items():
        current = video_id in done or video_id not in stale
        kept = state.finished(video_id, wanted(video_id)) if video_id in done else state.videos.get(video_id)
        if video_id in done and kept is None:
            raise StorageError(f"the poses of {min(places)[0]} were written and are no longer there; run again")
        if places and current and kept is not None:
            final.append(dataclasses.replace(kept, sources=tuple(sorted(places))))
    return final
