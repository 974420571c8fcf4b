"""The actor that denoises windows and decodes chunks, one call at a time, of any video that is open.

It keeps what is the same through all steps (networks, encoded reference, pose features) and no state: latents come with
the call and go with the answer, into Ray's object store, so that another worker can go on from there.
"""

from __future__ import annotations

import functools
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import ray
from ray import cloudpickle

from cluster.orders import StepOrder, WindowOrder, WindowReport, packed, unpacked
from cluster.snapshots import Snapshots
from model.messages import Assembly, Chunk, Opening, Part
from model.routes import Route

log = logging.getLogger(__name__)

HELD = 4
"""Parts that a worker holds at most for the next step, besides the object store."""


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


class NotHeld(RuntimeError):
    """A part that the worker was to hold and does not have any more."""


# The same order comes again and again as long as windows stay where they are.
_order = functools.lru_cache(maxsize=256)(unpacked)


class SegmentWorker:
    """Ray calls one method at a time. ``load`` is a pickled function without arguments that makes the engine.

    Orders come and reports go ``packed``.
    """

    def __init__(self, load: bytes) -> None:
        self._load = load
        self._engine: Engine | None = None
        self._snapshots: dict[str, Snapshots | None] = {}
        self._refused: dict[str, Exception] = {}
        self._writer = ThreadPoolExecutor(1)
        self._held: OrderedDict[tuple[str, int, int], Part] = OrderedDict()

    def load(self) -> tuple[str, int]:
        """Load the networks; which node and process this is. Raises what loading raises."""
        self._engine = cloudpickle.loads(self._load)()
        return ray.get_runtime_context().get_node_id(), os.getpid()

    def open(self, video: str, content: Content) -> Opening:
        """Get ready for a video. What goes wrong is raised, and again by every call that is about it."""
        try:
            opening = self._ready.open(video, content.fetched())
        except Exception as error:
            self._refused[video] = error
            raise
        self._snapshots[video] = content.snapshots
        return opening

    def close(self, video: str) -> None:
        """Forget a video."""
        self._snapshots.pop(video, None)
        self._refused.pop(video, None)
        for key in [key for key in self._held if key[0] == video]:
            del self._held[key]
        self._ready.close(video)

    def step(self, ordered: bytes, now: bytes, *parts: Part) -> tuple[bytes | Part, ...]:
        """Both passes over a window; a report, and a part for every outgoing route but the one that is held."""
        start, order, step = time.monotonic(), _order(ordered), unpacked(now)
        latents, saving = self._latents(order, step, parts)
        assembly = order.assembly(step.number)
        prediction = self._guarded(lambda: self._ready.predict(order.video, assembly, latents))
        return self._answer(order, step, latents, prediction, saving, start)

    def half(self, ordered: bytes, now: bytes, conditional: bool, *parts: Part) -> tuple[None, np.ndarray]:
        """One pass over a window: nothing that the coordinator would have to look at, and the prediction."""
        order, step = _order(ordered), unpacked(now)
        latents, _ = self._latents(order, step, parts, save=False)
        assembly = order.assembly(step.number)
        return None, self._guarded(lambda: self._ready.half(order.video, assembly, latents, conditional))

    def finish(
        self, ordered: bytes, now: bytes, unconditional: np.ndarray, conditional: np.ndarray, *parts: Part
    ) -> tuple[bytes | Part, ...]:
        """What ``step`` answers, out of two passes made apart."""
        start, order, step = time.monotonic(), _order(ordered), unpacked(now)
        latents, saving = self._latents(order, step, parts)
        prediction = self._ready.guide(order.video, order.assembly(step.number), unconditional, conditional)
        return self._answer(order, step, latents, prediction, saving, start)

    def keep(self, place: bytes) -> tuple[None, Part]:
        """Hand over the part that is held of a video, step and window, while the next window is being computed: it goes
        to the object store.

        Raises ``NotHeld``.
        """
        return None, self._part(*unpacked(place))

    def decode(self, ordered: bytes, *parts: Part) -> tuple[None, Chunk]:
        """Nothing that the coordinator would have to look at, and the frames of a chunk."""
        order = unpacked(ordered)
        self._check(order.video)
        latents = self._ready.assemble(order.video, order.assembly, parts, order.reference)
        return None, self._guarded(lambda: self._ready.decode(order.video, latents, order.shared))

    @property
    def _ready(self) -> Engine:
        assert self._engine is not None  # the pool calls nothing before `load` has answered
        return self._engine

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
        incoming = self._incoming(order, step.number - 1, parts)
        latents = engine.assemble(order.video, order.assembly(step.number), incoming, step.reference)
        if not (step.save and save and snapshots):
            return latents, None
        # Beside the network, which takes longer than any store.
        return latents, self._writer.submit(snapshots.write_window, step.number, order.window, engine.saved(latents))

    def _incoming(self, order: WindowOrder, before: int, parts: Sequence[Part]) -> list[Part]:
        sent, found = iter(parts), []
        for route in order.incoming:
            if route.source in order.local:
                found.append(self._part(order.video, before, route.source))
            else:
                found.append(next(sent))
        return found

    def _part(self, video: str, step: int, window: int) -> Part:
        try:
            return self._held[video, step, window]
        except KeyError:
            raise NotHeld(f"{video}: what window {window} left after step {step}") from None

    def _answer(
        self,
        order: WindowOrder,
        step: StepOrder,
        latents: Any,
        prediction: Any,
        saving: Future[None] | None,
        start: float,
    ) -> tuple[bytes | Part, ...]:
        share, parts = self._ready.hand_over(
            order.video, order.assembly(step.number), latents, prediction, order.weight, order.outgoing
        )
        saved = step.resume
        if saving is not None:
            error = saving.exception()
            saved = error is None
            if error is not None:
                log.warning("%s: no snapshot of step %d (%s); going on", order.video, step.number, error)
        report = WindowReport(share, time.monotonic() - start, tuple(part.nbytes for part in parts), saved)
        if order.hold is not None:
            self._held[order.video, step.number, order.window] = parts.pop(order.hold)
            # Long enough for those that are still wanted: the coordinator asks a worker to hold HELD at most.
            while len(self._held) > 3 * HELD:
                self._held.popitem(last=False)
        return packed(report), *parts

    @staticmethod
    def _guarded(compute: Callable[[], Any]) -> Any:
        try:
            return compute()
        except Exception as error:
            if _device_is_lost(error):
                # Every later call would fail too. The pool replaces a worker that is gone.
                log.exception("the GPU is not usable any more: this worker ends")
                os._exit(1)
            raise


def _device_is_lost(error: Exception) -> bool:
    import torch

    return isinstance(error, torch.AcceleratorError) and not isinstance(error, torch.OutOfMemoryError)
