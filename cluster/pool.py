"""The workers, and which of them does what next. Runs inside the coordinator's event loop.

Work goes to the worker that had the same window before, as it has that window's pose features; to whoever is idle when
that one is busy; and in turns between the videos, so that a long one does not starve the rest. A worker has at most one
call waiting behind the one that it is doing. One that is lost is replaced, and its calls are given to others.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayError, RayTaskError

from cluster.line import Line, LineBroken, Lines, line_name

log = logging.getLogger(__name__)

# The second is what Ray raises for an actor that its memory monitor has killed, and is none of the first.
_LOST = RayActorError, OutOfMemoryError
_ANSWERS_WITHIN_S = 10.0

_LOADING_FAILURES = 3
_QUEUE = 2
_WATCH_SECONDS = 5.0
_FLAPPING_SECONDS = 10.0
_ROOM_SECONDS = 60.0
_SLOW = 3.0
_SLOW_SECONDS = 10.0


class WorkerGone(RuntimeError):
    """A call was lost with its worker. ``guilty`` if it was what the worker was doing when it ended."""

    def __init__(self, guilty: bool) -> None:
        super().__init__("lost with its worker")
        self.guilty = guilty


class InputGone(RuntimeError):
    """A call cannot be done since something it needs was lost with another worker."""


class WorkersUnusable(RuntimeError):
    """No worker can load the networks."""


Submitted = list[Any]
"""What a call will answer: references, or, of one on a line, a future."""


@dataclass(eq=False)
class Worker:
    """One actor. ``calls`` are those it has been given, the first of them being done; ``room`` says whether the memory
    of its node has any. Of videos, those it was told to open, and the makings of those of which it has answered a call.
    """

    number: int
    handle: Any
    node: str = ""
    pid: int = 0
    born: float = field(default_factory=time.monotonic)
    calls: deque[Call] = field(default_factory=deque)
    opened: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    warned: bool = False
    room: bool = True
    ended_by: Call | None = None
    methods: dict[tuple[str, int], Any] = field(default_factory=dict)

    def ask(self, name: str, answers: int, *arguments: Any, **options: Any) -> list[ray.ObjectRef]:
        """Call a method of the actor that gives so many answers."""
        # Kept, since making one costs as much as calling it.
        if (name, answers) not in self.methods:
            self.methods[name, answers] = getattr(self.handle, name).options(num_returns=answers, **options)
        found = self.methods[name, answers].remote(*arguments)
        return [found] if answers == 1 else found


@dataclass(eq=False)
class Call:
    """Something to be done for a video by any worker. ``submit`` sends it to one and returns its answers, of which the
    first is awaited; ``prefer`` is the number of the worker that would do it soonest.
    """

    video: str
    what: str
    submit: Callable[[Worker], Submitted]
    prefer: int | None
    place: asyncio.Future[Worker] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    started: float = 0.0


@dataclass(frozen=True)
class Answer:
    """The first answer itself, references to the others, and who gave them."""

    first: Any
    rest: list[ray.ObjectRef]
    worker: Worker


class Pool:
    """Workers made by ``make``, as many as ``wanted()`` says now and later. ``run_name`` is what they know the run by,
    ``lost_nodes`` are those that workers were lost with.
    """

    def __init__(self, make: Callable[[], Any], wanted: Callable[[], int], run_name: str) -> None:
        self._make, self._wanted, self.run_name = make, wanted, run_name
        self.lost_nodes: set[str] = set()
        self.lines = Lines()
        self._ready: dict[int, Worker] = {}
        self._starting: set[asyncio.Task[None]] = set()
        self._waiting: OrderedDict[str, list[Call]] = OrderedDict()
        self._durations: dict[tuple[str, str], deque[float]] = defaultdict(lambda: deque(maxlen=50))
        self._count = 0
        self._losses: deque[float] = deque()
        self._failures = 0
        self._loaded = False
        self._broken: Exception | None = None
        self._planned = False
        self._born = time.monotonic()
        self._watcher: asyncio.Task[None] | None = None
        self.busy_seconds = 0.0
        self.calls = 0

    def start(self) -> None:
        """Ask for the workers. Those that Ray has no room for come when it has."""
        self._grow()
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    @property
    def numbers(self) -> list[int]:
        """The workers at hand, oldest first."""
        return sorted(self._ready)

    @property
    def pids(self) -> dict[int, int]:
        """Number and process of each worker at hand."""
        return {number: worker.pid for number, worker in sorted(self._ready.items())}

    async def run(
        self, video: str, kind: str, number: int, submit: Callable[[Worker], Submitted], prefer: int | None
    ) -> Answer:
        """Have a call done by whoever is best placed.

        Raises what the call raises, ``WorkerGone``, ``InputGone`` and ``WorkersUnusable``.
        """
        call = Call(video, f"{kind} {number}", submit, prefer)
        self._enqueue(call)
        try:
            worker = await call.place
        except asyncio.CancelledError:
            self._withdraw(call)
            raise
        try:
            try:
                refs = call.submit(worker)
                first = await refs[0]
            except LineBroken as error:
                # Ray says whether the worker is gone as well, and there is no line any more.
                refs = call.submit(worker)
                first = await refs[0]
                log.warning("the line to worker %d broke (%s): Ray calls it from now on", worker.number, error)
        except _LOST as error:
            if not await _is_of(error, worker):
                raise InputGone(_reason(error)) from error
            if worker.number in self._ready:
                self._lose(worker, error)
            raise WorkerGone(worker.ended_by is call) from error
        finally:
            self._done(worker, call)
        self._durations[video, kind].append(time.monotonic() - call.started)
        return Answer(first, refs[1:], worker)

    def worker(self, number: int) -> Worker | None:
        """A worker, if it is still at hand."""
        return self._ready.get(number)

    def line(self, worker: Worker) -> Line | None:
        """The line to a worker, if it has one."""
        return self.lines.get(line_name(worker.node, worker.pid))

    def somebody_on(self, node: str) -> Worker | None:
        """Any worker there that is at hand."""
        return next((worker for worker in self._ready.values() if worker.node == node), None)

    def forget(self, video: str, making: str) -> None:
        """This ``making`` of a video is over: workers need not keep what they, or others on their node, have of it."""
        for worker in self._ready.values():
            worker.opened.discard(video)
            worker.answered.discard(making)
            worker.handle.close.remote(video, making)
        for key in [key for key in self._durations if key[0] == video]:
            del self._durations[key]

    # Who does what

    def _enqueue(self, call: Call) -> None:
        if self._broken is not None:
            raise self._broken
        self._waiting.setdefault(call.video, []).append(call)
        self._plan()

    def _plan(self) -> None:
        # Once for all calls of a step, which come together.
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._deal)

    def _deal(self) -> None:
        self._planned = False
        if not self._waiting:
            return
        idle = [worker for worker in self._ready.values() if not worker.calls]
        for worker in idle:
            self._give(worker, {worker.number})
        for worker in idle:
            if not worker.calls and not self._give(worker, {None}):
                self._give(worker, None)
        for worker in sorted(self._ready.values(), key=lambda worker: len(worker.calls)):
            # A video's own before what nobody has had, but the next video's turn before either: a video that begins, or
            # ends, has nothing that anybody has had.
            while len(worker.calls) < _QUEUE and self._give(worker, {worker.number}, {None}):
                pass

    def _give(self, worker: Worker, *preferring: set[int | None] | None) -> bool:
        """Give a worker the next call, of the video whose turn it is, that prefers one of these, or any; of the first
        of several such sets, if there is one. Whether there was a call.
        """
        for video, calls in self._waiting.items():
            wanted = (call for numbers in preferring for call in calls if numbers is None or call.prefer in numbers)
            # Who waited for one may have gone, which is seen here before it is withdrawn.
            call = next((call for call in wanted if not call.place.done()), None)
            if call is not None:
                calls.remove(call)
                self._waiting.move_to_end(video)
                if not calls:
                    del self._waiting[video]
                call.started = time.monotonic()
                worker.calls.append(call)
                call.place.set_result(worker)
                return True
        return False

    def _withdraw(self, call: Call) -> None:
        """Nobody waits for a call any more that was not sent."""
        if call in self._waiting.get(call.video, ()):
            self._waiting[call.video].remove(call)
            if not self._waiting[call.video]:
                del self._waiting[call.video]
        for worker in self._ready.values():
            if call in worker.calls:
                worker.calls.remove(call)
                self._plan()

    def _done(self, worker: Worker, call: Call) -> None:
        now = time.monotonic()
        first = bool(worker.calls) and worker.calls[0] is call
        if call in worker.calls:
            worker.calls.remove(call)
        self.calls += 1
        self.busy_seconds += now - call.started
        if first and worker.calls:
            # It was waiting until now.
            worker.calls[0].started = now
        worker.warned = False
        self._plan()

    # Who is there

    def _grow(self) -> None:
        for _ in range(self._wanted() - len(self._ready) - len(self._starting)):
            self._spawn(0.0)

    def _spawn(self, delay: float) -> None:
        task = asyncio.get_running_loop().create_task(self._bring_up(delay))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _bring_up(self, delay: float) -> None:
        await asyncio.sleep(delay)
        self._count += 1
        worker = Worker(self._count, self._make())
        try:
            worker.node, worker.pid = await worker.handle.load.remote()
        except RayTaskError as error:
            # One may stand where there is no room on the GPU, or no network; all, where the weights do not fit.
            enough = _LOADING_FAILURES if self._loaded else min(_LOADING_FAILURES, max(1, self._wanted()))
            self._failed(worker, "could not load", str(error.cause), str(error.cause), enough)
            return
        except _LOST as error:
            died = f"{_LOADING_FAILURES} workers died while they loaded the networks; out of memory?"
            self._failed(worker, "was lost while it loaded", _reason(error), died, _LOADING_FAILURES)
            return
        except RayError as error:
            reason = " ".join(str(error).split())
            self._failed(worker, "could not be started", reason, reason, _LOADING_FAILURES)
            return
        self._failures, self._loaded = 0, True
        worker.born = time.monotonic()
        self._ready[worker.number] = worker
        log.info("worker %d is ready (process %d)", worker.number, worker.pid)
        self._plan()

    def _failed(self, worker: Worker, what: str, reason: str, verdict: str, enough: int) -> None:
        """One that did not get ready: another is started, or, after so many in a row and with no other, all is over."""
        self._failures += 1
        given_up = self._failures >= enough and not self._ready
        log.warning("worker %d %s (%s)%s", worker.number, what, reason, "" if given_up else ": starting another")
        # It may hold the GPU that the next one needs.
        ray.kill(worker.handle)
        if given_up:
            self._break(WorkersUnusable(verdict))
        else:
            self._spawn(self._pause())

    def _lose(self, worker: Worker, error: RayError) -> None:
        """Take a worker out, and have another started."""
        del self._ready[worker.number]
        node_lost = not _alive(worker.node)
        # What waited behind it has done nothing, nor has anything when the whole node is gone.
        doing = worker.calls[0] if worker.calls else None
        worker.ended_by = None if node_lost else doing
        if node_lost:
            self.lost_nodes.add(worker.node)
        if isinstance(error, ActorUnavailableError):
            # It may come back, and would then do work that others have done meanwhile.
            ray.kill(worker.handle)
        self._losses.append(time.monotonic())
        lived, pause = time.monotonic() - worker.born, self._pause()
        log.warning(
            "worker %d (process %d) was lost%s%s: its calls are given to others, another is started%s",
            worker.number,
            worker.pid,
            " with its node" if node_lost else "",
            f" at {doing.what} of {doing.video}" if doing else "",
            f" in {pause:.0f} s, since they do not live long" if pause and lived < _FLAPPING_SECONDS else "",
        )
        self._spawn(pause)

    def _pause(self) -> float:
        """Seconds before another worker is started: none, unless many were lost just now."""
        now = time.monotonic()
        while self._losses and now - self._losses[0] > 60:
            self._losses.popleft()
        recent = len(self._losses) + self._failures - 2 * max(1, self._wanted())
        return float(min(2 ** max(recent, 0), 30)) if recent > 0 else 0.0

    def _break(self, error: Exception) -> None:
        self._broken = error
        for calls in self._waiting.values():
            for call in calls:
                if not call.place.done():
                    call.place.set_exception(error)
        self._waiting.clear()

    async def _watch(self) -> None:
        warned = False
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            self._grow()
            if self._waiting and not self._ready and not warned and time.monotonic() - self._born > _ROOM_SECONDS:
                warned = True
                log.warning("no worker is ready yet: Ray has no room for one, or it is still loading the networks")
            for worker in self._ready.values():
                self._watch_pace(worker)

    def _watch_pace(self, worker: Worker) -> None:
        if not worker.calls or worker.warned:
            return
        call = worker.calls[0]
        usual = self._durations.get((call.video, call.what.split()[0]))
        if not usual:
            return
        took, median = time.monotonic() - call.started, statistics.median(usual)
        if took > max(_SLOW * median, _SLOW_SECONDS):
            worker.warned = True
            log.warning(
                "worker %d has been at %s of %s for %.0f s, others take %.1f s: what waits goes to those who are idle",
                worker.number,
                call.what,
                call.video,
                took,
                median,
            )


def _alive(node: str) -> bool:
    return any(entry["NodeID"] == node and entry["Alive"] for entry in ray.nodes())


async def _is_of(error: RayError, worker: Worker) -> bool:
    """Whether it was ``worker`` that was lost, and not another one that had made something for it."""
    if isinstance(error, RayActorError):
        return error.actor_id is None or error.actor_id == worker.handle._actor_id.hex()
    # Ray does not say whose memory it was. Whoever is there answers beside what it computes.
    there = worker.handle.__ray_ready__.options(concurrency_group="keep").remote()
    try:
        await asyncio.wait_for(there, _ANSWERS_WITHIN_S)
    except (RayError, TimeoutError):
        return True
    return False


def _reason(error: RayError) -> str:
    return str(error).splitlines()[0]
