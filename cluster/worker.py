"""The actor that denoises windows and decodes chunks, one call at a time, of any video that is open.

It keeps what is the same through all steps (networks, encoded reference, pose features) and no state: latents are left
in the memory of the node, or go with the answer into Ray's object store, so that another worker can go on from there.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import ray
from ray import cloudpickle

from cluster.line import connect, line_name
from cluster.main_thread import MainThread
from cluster.node_memory import NodeMemory, PartKey
from cluster.orders import ChunkOrder, StepOrder, WindowOrder, WindowReport, packed, unpacked
from cluster.snapshots import Snapshots
from model.messages import Assembly, Chunk, Opening, Part
from model.routes import Route

log = logging.getLogger(__name__)

_RECENT = 4
"""Parts that a worker keeps itself at most, besides the node's memory."""

# Workers often end their windows at once, and what comes next must not wait.
_PAUSE_SHARE = 0.25
_PAUSE_SECONDS = 1.0

# When a worker was lost, others are asked one after another for what it had left.
_KEEP_WAITS_S = 0.2


class Engine(Protocol):
    """What computes: ``model.segments.SegmentEngine``, whose methods these are."""

    def open(self, name: str, video: Any) -> Opening: ...

    def close(self, name: str) -> None: ...

    def assemble(self, name: str, assembly: Assembly, parts: Sequence[Part], reference: np.ndarray) -> Any: ...

    def saved(self, latents: Any) -> np.ndarray: ...

    def restored(self, name: str, saved: np.ndarray) -> Any: ...

    def predict(self, name: str, assembly: Assembly, latents: Any) -> Any: ...

    def half(self, name: str, assembly: Assembly, latents: Any, conditional: bool) -> np.ndarray: ...

    def guide(self, name: str, assembly: Assembly, unconditional: np.ndarray, conditional: np.ndarray) -> Any: ...

    def hand_over(
        self,
        name: str,
        assembly: Assembly,
        latents: Any,
        prediction: Any,
        weight: float,
        outgoing: Sequence[Route],
    ) -> tuple[np.ndarray, list[Part]]: ...

    def decode(self, name: str, latents: Any, shared: tuple[int, int]) -> Chunk: ...


class Content(Protocol):
    """A video as it is sent to workers; ``fetched`` makes of it, there, what their engine opens."""

    snapshots: Snapshots | None

    def fetched(self) -> Any: ...


# The same order comes again and again as long as windows stay where they are.
_order = functools.lru_cache(maxsize=256)(unpacked)


Method = TypeVar("Method", bound=Callable[..., Any])


def _computes(method: Method) -> Method:
    """A method of a worker that computes. The main thread has nothing to do meanwhile: what arrives can wait a little.
    The process ends when the GPU is lost, which may show anywhere: a GPU tells of its errors late.
    """

    @functools.wraps(method)
    def guarded(self: SegmentWorker, *arguments: Any, **named: Any) -> Any:
        with self._turn:
            self._main.rest()
            try:
                return method(self, *arguments, **named)
            except Exception as error:
                if _device_is_lost(error):
                    # Every later call would fail too. The pool replaces a worker that is gone.
                    log.exception("the GPU is not usable any more: this worker ends")
                    os._exit(1)
                raise
            finally:
                self._main.wake()

    return cast(Method, guarded)


class SegmentWorker:
    """One method at a time, called by Ray or on the line to the coordinator. ``load`` is a pickled function without
    arguments that makes the engine; ``run`` is what all workers that work together have in common. Orders come and
    reports go ``packed``.
    """

    def __init__(self, load: bytes, run: str) -> None:
        self._load, self._run = load, run
        self._main = MainThread(_KEEP_WAITS_S)
        self._turn = threading.Lock()
        self._engine: Engine | None = None
        self._memory: NodeMemory | None = None
        self._snapshots: dict[str, Snapshots | None] = {}
        self._refused: dict[str, Exception] = {}
        self._writer = ThreadPoolExecutor(1)
        self._recent: OrderedDict[PartKey, tuple[Part, Future[None]]] = OrderedDict()
        self._keeper = ThreadPoolExecutor(1)
        self._room = True

    def load(self) -> tuple[str, int]:
        """Load the networks; which node and process this is. Raises what loading raises."""
        node = ray.get_runtime_context().get_node_id()
        self._engine = cloudpickle.loads(self._load)()
        self._memory = NodeMemory(self._run, node)
        connect(self._memory.line, line_name(node, os.getpid()), self._step_on_line)
        return node, os.getpid()

    @_computes
    def open(self, video: str, content: Content) -> Opening:
        """Get ready for a video. What goes wrong is raised, and again by every call that is about it."""
        try:
            opening = self._ready.open(video, content.fetched())
        except Exception as error:
            self._refused[video] = error
            raise
        self._snapshots[video] = content.snapshots
        return opening

    @_computes
    def close(self, video: str, making: str) -> None:
        """Forget a video, and this ``making`` of it."""
        self._snapshots.pop(video, None)
        self._refused.pop(video, None)
        self._ready.close(video)
        for key in [key for key in self._recent if key.making == making]:
            self._recent.pop(key)[1].result()
        self._held.drop(making)
        self._held.sweep()

    @_computes
    def step(self, ordered: bytes, now: bytes, *parts: Part) -> bytes | tuple[bytes | Part, ...]:
        """Both passes over a window; a report, and a part for every outgoing route but those that are held."""
        start, order, step = time.monotonic(), _order(ordered), unpacked(now)
        latents, saving = self._latents(order, step, parts)
        assembly = order.assembly(step.number)
        prediction = self._ready.predict(order.video, assembly, latents)
        return self._answer(order, step, latents, prediction, saving, start)

    def _step_on_line(self, ordered: bytes, now: bytes) -> bytes:
        report = self.step(ordered, now)
        assert isinstance(report, bytes)  # what is not held goes by Ray
        return report

    @_computes
    def half(self, ordered: bytes, now: bytes, conditional: bool, *parts: Part) -> tuple[None, np.ndarray]:
        """One pass over a window: nothing that the coordinator would have to look at, and the prediction."""
        order, step = _order(ordered), unpacked(now)
        latents, _ = self._latents(order, step, parts, save=False)
        assembly = order.assembly(step.number)
        return None, self._ready.half(order.video, assembly, latents, conditional)

    @_computes
    def finish(
        self, ordered: bytes, now: bytes, unconditional: np.ndarray, conditional: np.ndarray, *parts: Part
    ) -> bytes | tuple[bytes | Part, ...]:
        """What ``step`` answers, out of two passes made apart."""
        start, order, step = time.monotonic(), _order(ordered), unpacked(now)
        latents, saving = self._latents(order, step, parts)
        prediction = self._ready.guide(order.video, order.assembly(step.number), unconditional, conditional)
        return self._answer(order, step, latents, prediction, saving, start)

    def keep(self, key: bytes) -> tuple[None, Part]:
        """Hand a part that is in the node's memory over to the object store, while a window is being computed.

        Raises ``NotHeld``.
        """
        return None, self._part(unpacked(key))

    @_computes
    def decode(self, ordered: bytes, *parts: Part) -> tuple[None, Chunk]:
        """Nothing that the coordinator would have to look at, and the frames of a chunk."""
        order: ChunkOrder = unpacked(ordered)
        self._check(order.video)
        # What the last step has left, and what that could be made from again, is all that is needed now.
        self._held.drop(order.making, order.assembly.step + 1)
        incoming = self._incoming(order.making, order.assembly, order.chunk, order.local, parts)
        latents = self._ready.assemble(order.video, order.assembly, incoming, order.reference)
        return None, self._ready.decode(order.video, latents, order.shared)

    @property
    def _ready(self) -> Engine:
        assert self._engine is not None  # the pool calls nothing before `load` has answered
        return self._engine

    @property
    def _held(self) -> NodeMemory:
        assert self._memory is not None  # from `load` as well
        return self._memory

    def _check(self, video: str) -> None:
        if video in self._refused:
            raise self._refused[video]

    def _latents(
        self, order: WindowOrder, step: StepOrder, parts: Sequence[Part], save: bool = True
    ) -> tuple[Any, Future[None] | None]:
        self._check(order.video)
        engine, snapshots = self._ready, self._snapshots[order.video]
        if step.resume:
            assert snapshots is not None
            return engine.restored(order.video, snapshots.read_window(step.number, order.window)), None
        assembly = order.assembly(step.number)
        incoming = self._incoming(order.making, assembly, order.window, order.local, parts)
        latents = engine.assemble(order.video, assembly, incoming, step.reference)
        if not (step.save and save and snapshots):
            return latents, None
        # Beside the network, which takes longer than any store.
        return latents, self._writer.submit(snapshots.write_window, step.number, order.window, engine.saved(latents))

    def _incoming(
        self, making: str, assembly: Assembly, consumer: int, local: frozenset[int], parts: Sequence[Part]
    ) -> list[Part]:
        """What comes to window or chunk ``consumer``: of the windows in ``local`` it is here, the others' are sent."""
        sent, before = iter(parts), assembly.step - 1
        return [
            self._part(PartKey(making, before, route.source, consumer)) if route.source in local else next(sent)
            for route in assembly.incoming
        ]

    def _part(self, key: PartKey) -> Part:
        recent = self._recent.get(key)
        return recent[0] if recent is not None else self._held.get(key)

    def _answer(
        self,
        order: WindowOrder,
        step: StepOrder,
        latents: Any,
        prediction: Any,
        saving: Future[None] | None,
        start: float,
    ) -> bytes | tuple[bytes | Part, ...]:
        share, parts = self._ready.hand_over(
            order.video, order.assembly(step.number), latents, prediction, order.weight, order.outgoing
        )
        saved = step.resume
        if saving is not None:
            error = saving.exception()
            saved = error is None
            if error is not None:
                log.warning("%s: no snapshot of step %d (%s); going on", order.video, step.number, error)
        sent = tuple(part.nbytes for part in parts)
        seconds = time.monotonic() - start
        self._hold(order, step.number, parts, seconds)
        report = packed(WindowReport(share, seconds, sent, saved, self._room))
        going = [part for number, part in enumerate(parts) if number not in order.hold]
        return (report, *going) if going else report

    def _hold(self, order: WindowOrder, step: int, parts: Sequence[Part], seconds: float) -> None:
        """Leave parts in the node's memory: at once what others wait for; the largest, which most often is this
        worker's again, when the next window, which takes so many seconds, is being computed everywhere.
        """
        self._held.drop(order.making, step)
        largest = max(range(len(parts)), key=lambda number: parts[number].nbytes)
        for number in order.hold:
            part, key = parts[number], PartKey(order.making, step, order.window, order.consumers[number])
            if number == largest:
                pause = min(_PAUSE_SHARE * seconds, _PAUSE_SECONDS)
                self._recent[key] = part, self._keeper.submit(self._put_later, key, part, time.monotonic() + pause)
            else:
                self._put(key, part)
        while len(self._recent) > _RECENT:
            _, (_, written) = self._recent.popitem(last=False)
            written.result()

    def _put_later(self, key: PartKey, part: Part, moment: float) -> None:
        time.sleep(max(0.0, moment - time.monotonic()))
        self._put(key, part)

    def _put(self, key: PartKey, part: Part) -> None:
        try:
            self._held.put(key, part)
        except OSError as error:
            self._room = False
            log.warning("no room in the node's memory (%s): latents go by way of the object store from now on", error)


def _device_is_lost(error: Exception) -> bool:
    import torch

    return isinstance(error, torch.AcceleratorError) and not isinstance(error, torch.OutOfMemoryError)
