"""One video through all its steps: the coordinator's part of it. It passes references and frame 0, and nothing else."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import secrets
import statistics
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import ray
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OwnerDiedError,
    RayTaskError,
    TaskUnschedulableError,
    WorkerCrashedError,
)

from cluster.node_memory import NotHeld, PartKey
from cluster.orders import ChunkOrder, Orders, StepOrder, Transition, WindowOrder, WindowReport, packed, unpacked
from cluster.parts import PartsLost, Sent, inputs, secure
from cluster.placement import blocks, levelled
from cluster.pool import Answer, InputGone, Pool, Submitted, Worker, WorkerGone
from cluster.snapshots import Progress, Snapshots, SnapshotUnreadable
from model.fusion import FusionPlan
from model.messages import Assembly, Opening
from model.reference_latents import step_reference
from model.routes import Route, routes

log = logging.getLogger(__name__)

# What becomes of a call whose input was to be fetched from a node where nobody could.
_NOT_FETCHED = LocalRayletDiedError, NodeDiedError, TaskUnschedulableError, WorkerCrashedError

_RECENT = 5
"""Windows of a worker by which its pace is known."""

_LEAST_S = 1e-6

DEATHS = 3
"""How many workers a window or chunk may kill before its video is given up."""


@dataclass(frozen=True, eq=False)
class VideoJob:
    """A video to be made. ``plans`` are the windows of each step, ``spans`` the frames (start, stop) decoded together;
    ``guided`` says whether there are two passes; a snapshot is kept every ``save_every`` steps, if there is a place.
    """

    name: str
    plans: tuple[FusionPlan, ...]
    spans: tuple[tuple[int, int], ...]
    guided: bool
    snapshots: Snapshots | None
    save_every: int

    @property
    def steps(self) -> int:
        return len(self.plans)


@dataclass
class Traffic:
    """What has gone over the wire, in bytes: through the coordinator, and from one worker to another."""

    coordinator: int = 0
    between: int = 0
    window_steps: int = 0


class KillsWorkers(RuntimeError):
    """A window or chunk that has ended the processes of several workers."""


@dataclass(frozen=True, eq=False)
class _Asked:
    """A window of a step, whose packed ``StepOrder`` is ``now``."""

    orders: Orders
    window: int
    step: int
    now: bytes

    @property
    def order(self) -> WindowOrder:
        return self.orders.windows[self.window]


class VideoRun:
    """Latents are on the node of the worker that made them, or in the object store, until another goes on with them."""

    def __init__(self, job: VideoJob, content: ray.ObjectRef, pool: Pool, traffic: Traffic) -> None:
        self._job, self._content, self._pool, self._traffic = job, content, pool, traffic
        self.making = secrets.token_hex(8)
        """Not the video's name: it may be begun again while what is left of this is still being cleared away."""
        self._parts: dict[tuple[int, int], Sent] = {}
        self._made: dict[tuple[int, int], Sent] = {}
        self._workers: dict[tuple[str, int], int] = {}
        self._took: dict[int, deque[float]] = defaultdict(lambda: deque(maxlen=_RECENT))
        self._transitions: dict[tuple[int, int], Transition] = {}
        self._orders: Orders | None = None
        self._reference: np.ndarray | None = None
        self._saving: asyncio.Task[None] | None = None
        self.windows = len(job.plans[0].windows)
        """How many are at work at once; none after the last step."""

    async def denoise(self, split: Callable[[], bool], on_step: Callable[[int], None]) -> None:
        """Take all steps, from the last snapshot if there is one. ``split()`` says whether workers abound.

        Raises what a window raises.
        """
        job = self._job
        self.windows = len(job.plans[0].windows)
        opening = (await self._call("open", 0, lambda worker: self._open(worker))).first
        step, reference, resume = await self._state(opening)
        while step < job.steps:
            on_step(step)
            try:
                reference = await self._step(opening, step, reference, resume, job.guided and split())
                step, resume = step + 1, False
            except PartsLost as lost:
                failed = step
                step, reference, resume = await self._state(opening)
                log.warning("%s: step %d lost latents (%s): going on from step %d", job.name, failed, lost, step)
            except SnapshotUnreadable as error:
                log.warning("%s: %s: starting afresh", job.name, error)
                assert job.snapshots is not None
                await asyncio.to_thread(job.snapshots.clear)
                step, reference, resume = await self._state(opening)
        self._reference = reference
        self.windows = 0
        on_step(step)

    def release(self) -> None:
        """Let go of all latents."""
        self._parts, self._made = {}, {}

    async def decode(self, chunk: int) -> ray.ObjectRef:
        """A chunk of the finished video. Raises ``PartsLost`` when its latents are gone."""
        job = self._job
        start, stop = job.spans[chunk]
        before = job.spans[chunk - 1][1] - start if chunk else 0
        after = stop - job.spans[chunk + 1][0] if chunk + 1 < len(job.spans) else 0
        coming = self._transition(job.steps - 1).to[chunk]
        assert self._reference is not None
        assembly = Assembly(job.steps, tuple(range(start, stop)), coming)
        order = ChunkOrder(job.name, self.making, chunk, assembly, self._reference, (before, after))
        sent = [self._parts[route.source, chunk] for route in coming]
        # Nothing comes to a chunk of frame 0 alone.
        main = max(zip(coming, sent, strict=True), key=lambda pair: pair[0].frames)[1].worker if coming else None

        def submit(worker: Worker) -> Submitted:
            self._opened(worker)
            local, refs = inputs(sent, worker, self._pool)
            return worker.ask("decode", 2, packed(dataclasses.replace(order, local=local)), *refs)

        answer = await self._call("decode", chunk, submit, main, sent)
        self._traffic.between += sum(part.nbytes for part in sent if part.worker != answer.worker.number)
        return answer.rest[0]

    async def _step(self, opening: Opening, step: int, reference: np.ndarray, resume: bool, split: bool) -> np.ndarray:
        """All windows of a step; frame 0's latents after it."""
        job, windows = self._job, self._job.plans[step].windows
        self.windows = len(windows)
        self._traffic.coordinator += reference.nbytes * len(windows)
        save = job.snapshots is not None and step > 0 and step % job.save_every == 0
        self._made = {}
        into, out = None if resume or step == 0 else self._transition(step - 1), self._transition(step)
        if self._orders is None or (self._orders.into, self._orders.out) != (into, out):
            self._orders = Orders(job.name, self.making, job.plans[step], into, out)
        now = packed(StepOrder(step, reference, save, resume))
        numbers = self._pool.numbers
        first = blocks(len(windows), numbers)
        soonest = [self._soonest(order, first[order.window]) for order in self._orders.windows]
        prefer = levelled(soonest, self._paces(numbers))
        answers = await asyncio.gather(
            *(
                self._window(_Asked(self._orders, window, step, now), split, prefer[window])
                for window in range(len(windows))
            ),
            return_exceptions=True,
        )
        # One that cannot be mended tells more than latents that were lost along with it.
        errors = sorted((a for a in answers if isinstance(a, BaseException)), key=lambda e: isinstance(e, PartsLost))
        if errors:
            raise errors[0]
        reports = [report for report in answers if isinstance(report, WindowReport)]
        self._parts, self._made = self._made, {}
        self._traffic.window_steps += len(windows)
        self._traffic.coordinator += sum(report.share.nbytes for report in reports)
        if save and all(report.saved for report in reports):
            await self._save(Progress(step, len(windows), reference))
        return step_reference(opening, step, reference, [report.share for report in reports])

    def _soonest(self, order: WindowOrder, first: int | None) -> int | None:
        """Who had a window before; of one that moves, most of its frames. ``first`` if it has been nowhere."""
        if order.incoming:
            source = max(order.incoming, key=lambda route: route.frames).source
            return self._parts[source, order.window].worker
        return self._workers.get(("step", order.window), first)

    def _paces(self, numbers: Sequence[int]) -> dict[int, float]:
        """Seconds a window of each worker; of one that has had none, as many as of the others."""
        known = {number: statistics.median(self._took[number]) for number in numbers if number in self._took}
        usual = statistics.median(known.values()) if known else 1.0
        return {number: known.get(number, usual) for number in numbers}

    async def _window(self, asked: _Asked, split: bool, prefer: int | None) -> WindowReport:
        step, window = asked.step, asked.window
        coming = asked.order.incoming
        sent = [self._parts[route.source, window] for route in coming]
        held: frozenset[int] = frozenset()
        if split:
            answer = await self._halves(asked, sent, prefer)
        else:
            answer, held = await self._whole(asked, sent, prefer)
        report: WindowReport = unpacked(answer.first)
        if not split:
            self._took[answer.worker.number].append(max(report.seconds, _LEAST_S))
        answer.worker.room = report.room
        self._traffic.between += sum(part.nbytes for part in sent if part.worker != answer.worker.number)
        made_again: asyncio.Task[tuple[Answer, frozenset[int]]] | None = None

        async def again(number: int) -> tuple[ray.ObjectRef, int]:
            nonlocal made_again
            if made_again is None:
                made_again = asyncio.create_task(self._whole(asked, sent, None, hold=False))
            anew, _ = await made_again
            return anew.rest[number], anew.worker.number

        refs = iter(answer.rest)
        for number, (consumer, nbytes) in enumerate(zip(asked.order.consumers, report.sent, strict=True)):
            key = PartKey(self.making, step, window, consumer)
            part = Sent(key, nbytes, answer.worker.number, answer.worker.node, None)
            if number in held:
                part.again = functools.partial(again, number)
            else:
                part.ref = next(refs)
            self._made[window, consumer] = part
        # Nobody else needs what came to this window. What it left can be made again as long as that is kept.
        for route, part in zip(coming, sent, strict=True):
            part.again = None
            del self._parts[route.source, window]
        return report

    async def _whole(
        self, asked: _Asked, sent: Sequence[Sent], prefer: int | None, hold: bool = True
    ) -> tuple[Answer, frozenset[int]]:
        """Both passes by one worker; and the parts that it was to ``hold`` on its node, for those who are there too."""
        held: frozenset[int] = frozenset()
        consumers, last = asked.order.consumers, asked.step + 1 == self._job.steps

        def submit(worker: Worker) -> Submitted:
            nonlocal held
            holds = hold and worker.room
            held = frozenset(
                number
                for number, consumer in enumerate(consumers)
                # A chunk is decoded where most of it is, which is here for nearly all that this window has a part in.
                if holds and (last or self._near(consumer, worker))
            )
            order, refs = self._sent(asked, sent, worker, held)
            line = self._pool.line(worker)
            # Ray keeps what it calls in order, but what comes on a line may overtake that.
            if line and not refs and len(held) == len(consumers) and self.making in worker.answered:
                return [line.ask(order, asked.now)]
            return worker.ask("step", 1 + len(consumers) - len(held), order, asked.now, *refs)

        answer = await self._call("step", asked.window, submit, prefer, sent)
        return answer, held

    def _near(self, consumer: int, worker: Worker) -> bool:
        """Whether a window will likely be gone on with on a worker's node: where it was, if it has been anywhere."""
        before = self._pool.worker(self._workers.get(("step", consumer), 0))
        return before is None or before.node == worker.node

    async def _halves(self, asked: _Asked, sent: Sequence[Sent], prefer: int | None) -> Answer:
        """The two passes by two workers, put together by the second."""
        window = asked.window

        def half(conditional: bool) -> Callable[[Worker], Submitted]:
            def submit(worker: Worker) -> Submitted:
                order, refs = self._sent(asked, sent, worker)
                return worker.ask("half", 2, order, asked.now, conditional, *refs)

            return submit

        other = self._workers.get(("unconditional", window))
        passes = await asyncio.gather(
            self._call("unconditional", window, half(False), other, sent),
            self._call("step", window, half(True), prefer, sent),
            return_exceptions=True,
        )
        for each in passes:
            if isinstance(each, BaseException):
                raise each
        unconditional, conditional = (each.rest[0] for each in passes if isinstance(each, Answer))

        def finish(worker: Worker) -> list[ray.ObjectRef]:
            order, refs = self._sent(asked, sent, worker)
            answers = 1 + len(asked.order.outgoing)
            return worker.ask("finish", answers, order, asked.now, unconditional, conditional, *refs)

        return await self._call("finish", window, finish, self._workers["step", window], sent)

    def _sent(
        self, asked: _Asked, sent: Sequence[Sent], worker: Worker, hold: frozenset[int] = frozenset()
    ) -> tuple[bytes, list[ray.ObjectRef]]:
        """A window's order as this worker gets it, and the parts that go with it."""
        self._opened(worker)
        local, refs = inputs(sent, worker, self._pool)
        return asked.orders.packed(asked.window, local, hold), refs

    async def _call(
        self,
        kind: str,
        number: int,
        submit: Callable[[Worker], Submitted],
        prefer: int | None = None,
        needed: Sequence[Sent] = (),
    ) -> Answer:
        """Have something done, again if its worker is lost, with its inputs made again if they are."""
        deaths, doubtful = 0, False
        while True:
            await secure(self._job.name, needed, self._pool, doubtful)
            try:
                answer = await self._pool.run(self._job.name, kind, number, submit, prefer)
            except WorkerGone as gone:
                deaths += gone.guilty
                if deaths >= DEATHS:
                    raise KillsWorkers(
                        f"{kind} {number} ended its worker's process {deaths} times: out of memory, or a crash in it"
                    ) from gone
                prefer = None
            except (InputGone, NotHeld, *_NOT_FETCHED):
                doubtful = True
            except OwnerDiedError:
                # Of the video's content: whoever wanted it is gone.
                raise
            except ObjectLostError as error:
                raise PartsLost(str(error).splitlines()[0]) from error
            except RayTaskError as error:
                if isinstance(error.cause, ObjectLostError) and not isinstance(error.cause, OwnerDiedError):
                    raise PartsLost(str(error.cause).splitlines()[0]) from error
                if not isinstance(error.cause, NotHeld):
                    raise error.cause from error
                doubtful = True
            else:
                self._workers[kind, number] = answer.worker.number
                answer.worker.answered.add(self.making)
                return answer

    def _open(self, worker: Worker) -> list[ray.ObjectRef]:
        worker.opened.add(self._job.name)
        return [worker.handle.open.remote(self._job.name, self._content)]

    def _opened(self, worker: Worker) -> None:
        if self._job.name not in worker.opened:
            # Not waited for: if it fails, so does the call behind it.
            self._open(worker)

    def _transition(self, step: int) -> Transition:
        """What goes over after ``step``. The same for all steps whose windows stay where they are, but the last."""
        job = self._job
        plan = job.plans[step]
        last = step + 1 == job.steps
        key = (id(plan), -1 if last else id(job.plans[step + 1]))
        if key not in self._transitions:
            consumers: Sequence[Sequence[int]] = (
                [range(*span) for span in job.spans] if last else job.plans[step + 1].windows
            )
            to = routes(plan, consumers)
            out: list[list[tuple[int, Route]]] = [[] for _ in plan.windows]
            for consumer, coming in enumerate(to):
                for route in coming:
                    out[route.source].append((consumer, route))
            while len(self._transitions) > 1:
                del self._transitions[next(iter(self._transitions))]
            self._transitions[key] = Transition(to, tuple(map(tuple, out)))
        return self._transitions[key]

    async def _state(self, opening: Opening) -> tuple[int, np.ndarray, bool]:
        """Steps done, frame 0's latents after them, and whether the windows' are to be read from a snapshot."""
        self.release()
        job = self._job
        if job.snapshots is not None:
            if self._saving is not None:
                await self._saving
            progress = await asyncio.to_thread(job.snapshots.read_progress)
            if progress is not None:
                log.warning("%s: going on after step %d of %d", job.name, progress.step, job.steps)
                return progress.step, progress.reference, True
        return 0, opening.reference, False

    async def _save(self, progress: Progress) -> None:
        if self._saving is not None:
            await self._saving
        self._saving = asyncio.create_task(asyncio.to_thread(self._write, progress))

    def _write(self, progress: Progress) -> None:
        assert self._job.snapshots is not None
        try:
            self._job.snapshots.write_progress(progress)
        except Exception as error:  # every store has exceptions of its own
            log.warning("%s: no snapshot of step %d (%s); going on", self._job.name, progress.step, error)
