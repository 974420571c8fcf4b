"""The actor that has the pool, and takes every video that it is given through it.

Whoever wants a video calls ``start``, follows it with ``steps_done``, fetches ``chunk`` after ``chunk`` and ends with
``finish``. Nothing is kept here that a new coordinator would not find in the snapshots.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray import cloudpickle

from cluster.demand import WorkerDemand
from cluster.main_thread import MainThread
from cluster.node_memory import NodeMemory
from cluster.own_node import own_node
from cluster.parts import PartsLost
from cluster.pool import Pool
from cluster.video_run import Traffic, VideoJob, VideoRun
from cluster.worker import Engine, SegmentWorker

log = logging.getLogger(__name__)

# What three steps have left in the nodes' memory; at the end two, and chunks that wait to be fetched. Half of what Ray
# takes for its object store is what there is for it.
_COPIES = 3
_STORE_SHARE = 0.5
# Calls that may wait at once: more than there can be videos.
_CONCURRENCY = 10_000

# A client asks for steps at least so often, and may take so long between two chunks. One that comes back later is told
# that its video is unknown, and begins it again from its last snapshot.
_ASKS_WITHIN_S = 60.0
# At most, for a video that is begun while all others are at a step.
_START_WAITS_S = 1.0
_LEASE_S = 1800.0

RAY_SETTINGS = {
    "RAY_max_direct_call_object_size": str(256 << 10),
    "RAY_task_events_report_interval_ms": "0",
    "RAY_event_stats": "0",
    "RAY_worker_niceness": "0",
}
"""Of Ray, in the processes of coordinator and workers. A frame's latents go with the call or its answer, and not by way
of the object store, which takes several times as long. A step's calls are many and all alike: nobody follows one. And
what they do is what everybody else waits for, so Ray need not make them nice to others.
"""


class UnknownVideo(RuntimeError):
    """A video that this coordinator was not given."""


def create(load: Callable[[], Engine], demand: WorkerDemand) -> Any:
    """A coordinator on this node, whose loss is the job's anyway. ``load`` is called in every worker, at once, while
    the first video is being prepared.
    """
    remote = ray.remote(Coordinator).options(
        num_cpus=0,
        max_restarts=-1,
        max_concurrency=_CONCURRENCY,
        scheduling_strategy=own_node(),
        runtime_env={"env_vars": RAY_SETTINGS},
    )
    # Passed on unread: only workers import what the networks need.
    handle: Any = remote.remote(cloudpickle.dumps(load), demand)
    handle.begin.remote()
    return handle


class Coordinator:
    """Asynchronous: everything here runs in one event loop, and nothing in it computes for long."""

    _main: MainThread

    def __new__(cls, *_arguments: Any) -> Coordinator:
        # Of what an asynchronous actor has, Ray calls this alone in the main thread.
        coordinator = super().__new__(cls)
        coordinator._main = MainThread(_START_WAITS_S)
        return coordinator

    def __init__(self, load: bytes, demand: WorkerDemand) -> None:
        logging.getLogger("cluster").setLevel(logging.INFO)
        # Lost with its owner, and never restarted behind its back: the pool does that, and knows what was lost.
        options = {
            "num_cpus": demand.cpus,
            "num_gpus": demand.gpus,
            "max_restarts": 0,
            "max_task_retries": 0,
            "runtime_env": {"env_vars": RAY_SETTINGS},
        }
        # What a worker holds can be fetched while it computes.
        remote = ray.remote(**{"concurrency_groups": {"keep": 1}})(SegmentWorker).options(**options)  # type: ignore[call-overload]
        run = secrets.token_hex(8)
        self._pool = Pool(lambda: remote.remote(load, run), demand.wanted, run)
        self._videos: dict[str, _Video] = {}
        self._room = asyncio.Condition()
        self._followed = 0
        self._traffic = Traffic()
        self._begun = False
        self._memory: NodeMemory | None = None
        self._watching: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Start the workers, unless that is done."""
        # Not in the constructor, which runs before there is a loop. One that Ray restarts is asked for something else.
        if not self._begun:
            self._begun = True
            # If it cannot be had, workers do not get ready either, and say why.
            with suppress(OSError):
                self._memory = NodeMemory(self._pool.run_name, ray.get_runtime_context().get_node_id())
                await self._pool.lines.open(self._memory.line)
            self._pool.start()
            self._watching = asyncio.create_task(self._watch())

    async def start(self, job: VideoJob, content: list[ray.ObjectRef], nbytes: int) -> None:
        """Begin a video, whose latents are ``nbytes``, when there is room for it; again from its last snapshot when it
        had been begun before. ``content`` is a list of one reference, so that it is passed on and not fetched.
        """
        await self.begin()
        await self.finish(job.name)
        size = _COPIES * nbytes
        async with self._room:
            await self._room.wait_for(lambda: self._fits(job.name, size))
            # Somebody who has died meanwhile may have waited for the same, and may have come first.
            self._drop(job.name)
            video = _Video(VideoRun(job, content[0], self._pool, self._traffic), job, size)
            self._videos[job.name] = video
            self._room.notify_all()
        video.begin(self._split)

    async def steps_done(self, name: str, more_than: int) -> int:
        """How many steps are done, as soon as it is more than that, or all, or after a minute. Raises what ended the
        video.
        """
        video = self._video(name)
        with video.asked(), self._following():
            return await video.steps_done(more_than)

    @contextmanager
    def _following(self) -> Iterator[None]:
        """While somebody waits for a step. When all do, nobody calls until there is one, but for a new video."""
        self._followed += 1
        if self._followed >= len(self._videos):
            self._main.rest()
        try:
            yield
        finally:
            self._followed -= 1
            self._main.wake()

    async def chunk(self, name: str, number: int) -> list[ray.ObjectRef]:
        """A list of one reference, to a ``Chunk``. The next ones are begun meanwhile."""
        ahead = len(self._pool.numbers) + 1
        video = self._video(name)
        with video.asked():
            return [await video.chunk(number, ahead)]

    async def finish(self, name: str) -> None:
        """Drop a video, finished or not."""
        self._drop(name)
        async with self._room:
            self._room.notify_all()

    def _drop(self, name: str) -> None:
        video = self._videos.pop(name, None)
        if video is not None:
            video.end()
            self._pool.forget(name, video.run.making)

    async def _watch(self) -> None:
        """Drop the videos of those who have died: they take turns and room from the others."""
        while True:
            await asyncio.sleep(_ASKS_WITHIN_S)
            for name in [name for name, video in self._videos.items() if video.idle_s > _LEASE_S]:
                log.warning("%s: nobody has asked for it for %.0f s: dropped", name, _LEASE_S)
                await self.finish(name)

    async def figures(self) -> dict[str, Any]:
        """Who is at work, and what has been done: calls, seconds that workers and this process computed, bytes."""
        await self.begin()
        return {
            "pid": os.getpid(),
            "workers": self._pool.pids,
            "calls": self._pool.calls,
            "busy_seconds": self._pool.busy_seconds,
            "cpu_seconds": time.process_time(),
            "window_steps": self._traffic.window_steps,
            "coordinator_bytes": self._traffic.coordinator,
            "between_bytes": self._traffic.between,
        }

    def _video(self, name: str) -> _Video:
        if name not in self._videos:
            raise UnknownVideo(name)
        return self._videos[name]

    def _fits(self, name: str, size: int) -> bool:
        others = [video.size for other, video in self._videos.items() if other != name]
        store = ray.cluster_resources().get("object_store_memory", 0.0)
        return not others or sum(others) + size <= _STORE_SHARE * store

    def _split(self) -> bool:
        """Whether the two passes of a window had better be made by two workers."""
        return len(self._pool.numbers) >= 2 * sum(video.run.windows for video in self._videos.values())


class _Video:
    """A video under way: how far it is, and the chunks that are being made of it."""

    def __init__(self, run: VideoRun, job: VideoJob, size: int) -> None:
        self.run, self.size = run, size
        self._job = job
        self._done = 0
        self._moved = asyncio.Event()
        self._chunks: dict[int, asyncio.Task[ray.ObjectRef]] = {}
        self._again = asyncio.Lock()
        self._split: Callable[[], bool] = lambda: False
        self._denoising: asyncio.Task[None] | None = None
        self._asking = 0
        self._asked = time.monotonic()

    @contextmanager
    def asked(self) -> Iterator[None]:
        """While somebody waits for something of it."""
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1
            self._asked = time.monotonic()

    @property
    def idle_s(self) -> float:
        """For how long nobody has asked for it."""
        return 0.0 if self._asking else time.monotonic() - self._asked

    def begin(self, split: Callable[[], bool]) -> None:
        self._split = split
        self._denoising = asyncio.create_task(self.run.denoise(split, self._on_step))
        self._denoising.add_done_callback(lambda _task: self._moved.set())

    def end(self) -> None:
        for task in (self._denoising, *self._chunks.values()):
            if task is not None:
                task.cancel()
        self.run.release()

    def _on_step(self, done: int) -> None:
        self._done = done
        self._moved.set()

    async def steps_done(self, more_than: int) -> int:
        with suppress(TimeoutError):
            async with asyncio.timeout(_ASKS_WITHIN_S):
                while self._done <= more_than and not self._finished():
                    self._moved.clear()
                    await self._moved.wait()
        if self._finished():
            await self._settled()
        return self._done

    async def chunk(self, number: int, ahead: int) -> ray.ObjectRef:
        for each in range(number, min(number + ahead, len(self._job.spans))):
            if each not in self._chunks:
                self._chunks[each] = asyncio.create_task(self._decoded(each))
        try:
            return await self._chunks[number]
        finally:
            del self._chunks[number]

    async def _decoded(self, number: int) -> ray.ObjectRef:
        while True:
            await self._settled()
            try:
                return await self.run.decode(number)
            except PartsLost as lost:
                async with self._again:
                    if self._finished() and self.run.windows == 0:
                        log.warning("%s: chunk %d lost its latents (%s)", self._job.name, number, lost)
                        self.begin(self._split)

    def _finished(self) -> bool:
        return self._denoising is not None and self._denoising.done()

    async def _settled(self) -> None:
        assert self._denoising is not None
        await asyncio.shield(self._denoising)
