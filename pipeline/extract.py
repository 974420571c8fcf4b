"""Videos become pose tables: what is finished is skipped, what can be is done, what cannot is set aside."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import ray
from ray.exceptions import RayActorError

from cluster.own_node import own_node
from pipeline.extraction import Request, Resolved, final_videos, fingerprint, split
from pipeline.extraction_stage import Deferred, ExtractPoses, Finished, Ledger
from pipeline.inputs import InputMissing, info_at
from pipeline.listing import COLUMNS, Listing, Video, list_videos
from pipeline.pose_store import Bucket, Kept, State, build, clear_parts, finish_publishing, publish, read_state
from pipeline.progress import EXTRACTION, Display
from pipeline.progress_line import counted
from pipeline.quarantine import NAME as QUARANTINE
from pipeline.quarantine import Quarantined
from pipeline.quarantine import to_parquet as quarantine_to_parquet
from pipeline.ray_data import as_they_end, configure, connect, pool
from pipeline.resources import PoseResources
from pipeline.storage import Storage
from pipeline.tasks import pack, unpack
from pipeline.threads import attempt

log = logging.getLogger(__name__)

_ATTEMPTS = 2
# Deaths of its worker that a video in the queue outlives in a pass; if there are more, it waits for the next pass.
_HAND_BACKS = 4
# More would cost the driver more than they help: a lost block costs its videos another try, not their poses.
_MOST_BLOCKS = 4096


class EstimatorUnusable(RuntimeError):
    """Networks that a worker cannot load: no video can be done."""


@dataclass
class Plan:
    """The listed videos, what of them is ``resolved`` already, what is to be done. ``wanted`` gives fingerprints."""

    listing: Listing
    resolved: Resolved
    todo: list[Video]
    wanted: Callable[[str], str]


@dataclass
class Outcome:
    """What came of a run. ``done`` now, ``kept`` from before; ``tables`` written, ``videos`` in them in all."""

    done: list[Finished] = field(default_factory=list)
    kept: int = 0
    failed: list[Quarantined] = field(default_factory=list)
    tables: int = 0
    videos: int = 0

    @property
    def frames(self) -> int:
        """Frames looked at in this run."""
        return sum(finished.frames for finished in self.done)

    @property
    def seconds(self) -> float:
        """From when the first video that came to a good end was taken up to the end of the last."""
        spans = [finished.span for finished in self.done]
        return max(end for _, end in spans) - min(begun for begun, _ in spans) if spans else 0.0


def plan(request: Request, storage: Storage, state: State) -> Plan:
    """List the videos and see what is finished. Reads no video and writes nothing.

    Raises ``ListingError`` or ``CatalogError`` when there are no videos, ``ArtifactError``, ``RuntimeError`` or
    ``ValueError`` for weights that cannot be used.
    """
    estimator = request.choice.facts()
    wanted = functools.cache(lambda video_id: fingerprint(video_id, estimator, request.sampling))
    listing = list_videos(request.videos, request.output)
    resolved, todo = split(listing, state, wanted)
    return Plan(listing, resolved, todo, wanted)


def run(request: Request) -> Outcome:
    """Bring the output to what is asked for.

    Raises what ``plan`` raises, ``StorageError`` for an output that cannot be used, and ``EstimatorUnusable``.
    """
    storage = Storage(request.output)
    with storage.claimed() as claim:
        finish_publishing(storage)
        state = read_state(storage)
        planned = plan(request, storage, state)
        resolved = planned.resolved
        outcome = Outcome(kept=len(resolved.finished))
        log.info(
            "%d videos to do, %d done already, %d cannot be, %d files left out by their names",
            len(planned.todo), outcome.kept, len(resolved.failed), planned.listing.left_out,
        )  # fmt: skip
        if planned.todo:
            for result in _extract(request, planned, state, storage):
                claim.check()
                if isinstance(result, Quarantined):
                    resolved.failed[result.id] = result
                else:
                    resolved.finished[result.uri] = result.version, result.video_id
                    outcome.done.append(result)
        state = read_state(storage)
        final = _without_gone(final_videos(resolved, state, planned.wanted), {*resolved.finished, *resolved.failed})
        outcome.videos = len(final)
        outcome.tables = publish(storage, state, final, request.table_bytes, _build_all, claim.check)
        outcome.failed = sorted(resolved.failed.values(), key=lambda entry: entry.line)
        storage.write(QUARANTINE, quarantine_to_parquet(outcome.failed, COLUMNS[:1]))
        clear_parts(storage, [video.video_id for video in final])
        return outcome


def _without_gone(final: list[Kept], listed: set[str]) -> list[Kept]:
    """Names that lead nowhere any more give way where the same contents have others: videos are moved."""
    doubtful = {uri for video in final if len(video.sources) > 1 for uri, _ in video.sources} - listed
    ordered = sorted(doubtful)

    def is_gone(uri: str) -> bool:
        return isinstance(attempt(lambda: info_at(uri, "video", patient=False)), InputMissing)

    gone = set(compress(ordered, counted(is_gone, ordered, "earlier names looked up"))) if ordered else set()
    left = {
        video.video_id: tuple(source for source in video.sources if source[0] not in gone)
        for video in final
        if any(uri in gone for uri, _ in video.sources)
    }
    return [dataclasses.replace(video, sources=left.get(video.video_id) or video.sources) for video in final]


def _extract(request: Request, planned: Plan, state: State, storage: Storage) -> Iterator[Finished | Quarantined]:
    """An outcome for each video that is to be done.

    What kills its worker takes with it whatever else that worker had in hand. So what is unfinished after the first
    pass gets further ones with one video at a time in each worker, until it is finished or was begun twice.
    """
    connect()
    configure()
    name = f"mimicmotion-ledger-{uuid.uuid4().hex}"
    finished = {video.fingerprint for video in state.videos.values()} | {mark for _, mark in state.parts}
    ledger: Any = ray.remote(Ledger).options(name=name, num_cpus=0, scheduling_strategy=own_node()).remote(finished)
    unfinished = {video.uri: video for video in planned.todo}
    at_once = 2
    with Display(ledger, len(unfinished), EXTRACTION).shown() as display:
        while unfinished:
            before = len(unfinished)
            for outcome in _pass(request, unfinished, storage, name, at_once):
                if isinstance(outcome, Quarantined) and outcome.stage == "model":
                    raise EstimatorUnusable(outcome.message)
                display.count(isinstance(outcome, Quarantined))
                yield outcome
            try:
                attempts, known = ray.get(ledger.next_pass.remote())
            except RayActorError as error:
                raise RuntimeError(f"the run's ledger was lost ({error}); run again: what is finished stays") from error
            for uri in [uri for uri in unfinished if attempts[uri] >= _ATTEMPTS]:
                display.count(failed=True)
                stage = "worker" if uri in known else "fetch"
                yield unfinished.pop(uri).failed(_died(uri), stage, attempts[uri])
            if len(unfinished) == before and not any(attempts[uri] for uri in unfinished):
                raise RuntimeError("no worker could be started; Ray's logs say why")
            at_once = 1


def fair_share(videos: int, workers: int, at_once: int) -> int:
    """How many a worker takes in hand: ``at_once``, unless another that starts later would be left without any."""
    return min(at_once, math.ceil(videos / workers))


def _died(uri: str) -> RuntimeError:
    return RuntimeError(
        f"{uri}: its worker died {_ATTEMPTS} times, of a crash in native code or for want of memory; "
        "Ray's logs say which"
    )


def _pass(
    request: Request, unfinished: dict[str, Video], storage: Storage, ledger: str, at_once: int
) -> Iterator[Finished | Quarantined]:
    """Outcomes of those that come to an end, which are then no longer in ``unfinished``."""
    # The largest first: of those that are begun last, on which other workers then wait, each takes little.
    videos = sorted(unfinished.values(), key=lambda video: video.size_bytes, reverse=True)
    resources = PoseResources.of(request.device, request.choice.name, request.workers, len(videos))
    at_once = fair_share(len(videos), resources.workers, at_once)
    blocks = min(len(videos), _MOST_BLOCKS) if at_once > 1 else len(videos)
    dataset = ray.data.from_items([pack(video) for video in videos], override_num_blocks=blocks).map_batches(
        ExtractPoses,
        batch_size=1,
        fn_constructor_args=(request, resources.threads, storage, ledger, at_once),
        compute=pool(resources.workers, at_once),
        num_cpus=resources.cpus,
        num_gpus=resources.gpus,
        max_restarts=-1,
        # Not to be tried again, but to be handed back: without retries Ray Data was seen to wait for a lost task.
        max_task_retries=_HAND_BACKS,
    )
    waiting: list[Finished] = []
    ends: dict[str, Finished | Quarantined] = {}
    for block in as_they_end(dataset):
        for outcome in map(unpack, block["packed"].to_pylist()):
            if isinstance(outcome, Deferred):
                continue
            if isinstance(outcome, Finished) and outcome.same_as:
                waiting.append(outcome)
                continue
            uri = outcome.uri if isinstance(outcome, Finished) else outcome.id
            ends[uri] = outcome
            del unfinished[uri]
            yield outcome
    for same in waiting:
        end = ends.get(same.same_as or "")
        if isinstance(end, Finished):
            del unfinished[same.uri]
            yield same
        elif end is not None:
            video = unfinished.pop(same.uri)
            message = end.message.replace(end.id, video.uri)
            yield dataclasses.replace(end, id=video.uri, line=video.line, row=video.row, message=message)


def _build_all(storage: Storage, buckets: Sequence[Bucket]) -> None:
    if len(buckets) <= 1:
        for bucket in buckets:
            build(storage, bucket)
        return
    connect()
    remote: Any = ray.remote(num_cpus=1, max_retries=2)(build)
    waiting = [remote.remote(storage, bucket) for bucket in buckets]
    while waiting:
        built, waiting = ray.wait(waiting)
        try:
            ray.get(built)
        except ray.exceptions.RayTaskError as error:
            # For a person to read: not where in Ray's processes it was raised.
            raise error.cause from error
        log.info("%d of %d tables are built", len(buckets) - len(waiting), len(buckets))
