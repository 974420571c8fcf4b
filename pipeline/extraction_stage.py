"""The actor that extracts poses: a listed video becomes a finished part in the output, or a reason why not."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import logging
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import ray

from cluster.exiting import exit_at_once
from cluster.main_thread import MainThread
from model.artifacts import sha256
from pipeline.decoding.fork_server import LIBRARIES, start_servers
from pipeline.extraction import Request, fingerprint, settings_of
from pipeline.inputs import InputError, local_copy, version_at
from pipeline.listing import Video
from pipeline.part_writer import PartWriter
from pipeline.pose_store import part_name
from pipeline.poses import people_in_frames
from pipeline.progress import ProgressBoard, Reporter
from pipeline.quarantine import Quarantined
from pipeline.retries import patiently
from pipeline.scratch import scratch
from pipeline.storage import Storage, StorageError
from pipeline.tasks import pack, unpack
from pipeline.video import FrameReader, VideoError, read_frames

log = logging.getLogger(__name__)

_STAGES = ((VideoError, "decode"), (InputError, "fetch"), (StorageError, "write"))


@dataclass(frozen=True)
class Finished:
    """A video whose poses are in the output.

    ``same_as`` is the URI of equal contents that were estimated instead, empty for one of an earlier run. ``span`` is
    from when to when a worker had it, in seconds since the epoch.
    """

    uri: str
    version: str
    video_id: str
    frames: int = 0
    truncated: bool = False
    same_as: str | None = None
    span: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Deferred:
    """A video whose worker died, of it or of another that the worker had in hand: the next pass will tell."""

    uri: str


class Ledger(ProgressBoard):
    """Also who is at which video: so that equal contents are estimated once, and what kills its worker not tried on.

    One actor for both, since an idle process of Ray's takes a hundredth of a core.
    """

    def __init__(self, finished: set[str]) -> None:
        super().__init__()
        self._finished = finished
        self._owners: dict[str, str] = {}
        self._attempts: Counter[str] = Counter()
        self._begun: set[str] = set()
        self._read: set[str] = set()

    def begin(self, uri: str) -> bool:
        """Whether ``uri`` may be tried: once in a pass. What Ray sends again, its worker having died, has to wait."""
        self.hurry()
        if uri in self._begun:
            return False
        self._begun.add(uri)
        self._attempts[uri] += 1
        return True

    def claim(self, mark: str, uri: str) -> str | None:
        """``None`` where ``uri`` is to be estimated, else the URI that is or was, empty for one of an earlier run."""
        self.hurry()
        self._read.add(uri)
        if mark in self._finished:
            return ""
        owner = self._owners.setdefault(mark, uri)
        return None if owner == uri else owner

    def next_pass(self) -> tuple[Counter[str], set[str]]:
        """Forget who is at what; how often each URI was begun, and those whose contents are known."""
        self._owners.clear()
        self._begun.clear()
        return self._attempts, self._read


class ExtractPoses:
    """Videos -> ``Finished``, ``Quarantined`` or ``Deferred``.

    ``at_once`` calls may run at once, in threads: while one has the estimator, another fetches its video, starts its
    decoder and waits with the first frame in hand.
    """

    def __init__(self, request: Request, threads: int, storage: Storage, ledger: str, at_once: int) -> None:
        exit_at_once()
        # While the networks load, so that the first video need not wait for them. Only where every frame is looked at
        # is there something for decord.
        start_servers(LIBRARIES if request.sampling.stride == 1 else ["PyAV"])
        # OpenCV's own threads cost more than they gain on crops of a few hundred pixels.
        cv2.setNumThreads(threads)
        self._unusable: Exception | None = None
        try:
            self._estimator = patiently(
                lambda: request.choice.load(request.device, threads), "loading the pose networks"
            )
        except Exception as error:
            # Raised here, it would reach nobody but Ray.
            self._unusable = error
        self._request = request
        self._storage = storage
        self._reporter = Reporter(ledger)
        self._ledger = cast(Any, ray.get_actor(ledger))
        self._ledger.hurry.remote()
        self._turn = threading.Lock()
        self._main, self._at_once = MainThread(1.0), at_once
        self._in_hand: set[int] = set()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[bytes]]:
        with self._taken():
            return {"packed": [pack(self._outcome(unpack(packed)))["packed"] for packed in batch["packed"]]}

    @contextmanager
    def _taken(self) -> Iterator[None]:
        """A call. With as many as may be, no further one comes before one has ended."""
        mine = threading.get_ident()
        self._in_hand.add(mine)
        if len(self._in_hand) >= self._at_once:
            self._main.rest()
        try:
            yield
        finally:
            self._in_hand.discard(mine)
            self._main.wake()

    def _outcome(self, video: Video) -> Finished | Quarantined | Deferred:
        if self._unusable is not None:
            return video.failed(self._unusable, "model")
        begun, frames = time.time(), 0
        # A failure before its contents are known says nothing of them.
        stage = "fetch"
        try:
            if not ray.get(self._ledger.begin.remote(video.uri)):
                return Deferred(video.uri)
            if not video.version:
                video = dataclasses.replace(video, version=version_at(video.uri, "video"))
            with local_copy(video.uri, video.size_bytes or None) as path, unchanged(path, video.uri):
                video_id = _digest(path, video.uri)
                mark = fingerprint(video_id, self._estimator, self._request.sampling)
                owner: str | None = ray.get(self._ledger.claim.remote(mark, video.uri))
                stage = "poses"
                if owner is None:
                    finished = self._finished(video, video_id, mark, path)
                else:
                    finished = Finished(video.uri, video.version, video_id, same_as=owner)
            frames = finished.frames
            return dataclasses.replace(finished, span=(begun, time.time()))
        except Exception as error:
            if getattr(error, "errno", None) == errno.ENOSPC and not isinstance(error, (InputError, StorageError)):
                room = f"no room in {tempfile.gettempdir()} ({error}); free some, or set TMPDIR to a larger disk"
                error = OSError(room)
            log.warning("%s: quarantined: %s", video.uri, error)
            return video.failed(error, next((name for kind, name in _STAGES if isinstance(error, kind)), stage))
        finally:
            self._reporter.finish(video.uri, frames)

    def _finished(self, video: Video, video_id: str, mark: str, path: Path) -> Finished:
        sampling = self._request.sampling
        try:
            with read_frames(
                path, sampling.fps, stride=sampling.stride or 1, deadline_s=self._request.deadline_s
            ) as reader:
                return self._extract(video, video_id, mark, reader)
        except VideoError as error:
            # A fetched copy's name says nothing to whoever reads it.
            raise VideoError(str(error).replace(str(path), video.uri)) from error

    def _extract(self, video: Video, video_id: str, mark: str, reader: FrameReader) -> Finished:
        first = next(reader, None)
        if first is None:
            raise VideoError(f"{video.uri}: no frame of it can be decoded. Export it again.")
        with scratch() as folder:
            part = folder / "part.parquet"
            writer = PartWriter(part, video.uri, video_id, reader.info.width, reader.info.height)
            with self._turn:
                frames = itertools.chain([first], reader)
                for done, (frame, people) in enumerate(people_in_frames(frames, self._estimator), start=1):
                    writer.add(frame, people)
                    self._reporter.report(video.uri, "poses", done, len(reader.sources))
            source = video.uri, video.version
            settings = settings_of(self._estimator, self._request.sampling)
            writer.close(reader, {"fingerprint": mark, "settings": json.dumps(settings)}, source)
            try:
                self._storage.put(part, part_name(video_id, mark, source))
            except Exception as error:  # every store has exceptions of its own
                raise StorageError(
                    f"its poses cannot be written to {self._storage.uri} ({type(error).__name__}: {error})"
                ) from error
        return Finished(video.uri, video.version, video_id, writer.frames, reader.truncated)


def _digest(path: Path, uri: str) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise InputError(
            f"{uri} cannot be read ({error.strerror}); see to its permissions and its disk, and run again"
        ) from error


@contextmanager
def unchanged(path: Path, uri: str) -> Iterator[None]:
    """See that the file is the same one, untouched, after the block. Raises ``InputError`` when it is not.

    What a reader says of a file that goes away under it is not the reason, and what it read may be of two files.
    """
    before = _mark(path)
    try:
        yield
    finally:
        after = _mark(path)
        if after is None:
            raise InputError(f"{uri} vanished while it was being read")
        if after != before:
            raise InputError(f"{uri} changed while it was being read; run again when it is complete")


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
