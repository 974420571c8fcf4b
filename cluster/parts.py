"""Latents on their way between two steps: with their maker, then in the object store, and made again if lost."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import ray
from ray.exceptions import RayError

from cluster.orders import WindowOrder, packed
from cluster.pool import InputGone, Pool, Worker

log = logging.getLogger(__name__)


class PartsLost(RuntimeError):
    """Latents that were in the object store of a node that is gone."""


@dataclass(eq=False)
class Sent:
    """A part on its way: its bytes, and the number of the worker that made it. ``ref`` is where it is in the object
    store, ``None`` as long as only its maker has it; ``kept`` tells whether it has got there; ``again`` makes it anew,
    while there is what it was made from; ``holder`` is its maker as long as that is to hold it.
    """

    nbytes: int
    worker: int
    ref: ray.ObjectRef | None
    kept: ray.ObjectRef | None = None
    again: Callable[[], Awaitable[tuple[ray.ObjectRef, int]]] | None = None
    holder: Worker | None = None

    def keep(self, pool: Pool, video: str, step: int, window: int) -> None:
        """Have the maker, ``window`` of ``step``, put it into the object store, if it is still wanted there."""
        maker = pool.worker(self.worker)
        if self.ref is None and self.holder is not None and maker is not None:
            keep = maker.method("keep", 2, concurrency_group="keep")
            self.kept, self.ref = keep.remote(packed((video, step, window)))

    def consumed(self) -> None:
        """Nobody waits for it any more. It stays as long as what was made of it could be lost."""
        self.again = None
        self.let_go()

    def let_go(self) -> None:
        """Its maker is not counted on any more to hold it."""
        if self.holder is not None:
            self.holder.held -= 1
            self.holder = None


def inputs(
    order: WindowOrder, before: int, sent: Sequence[Sent], worker: Worker, pool: Pool
) -> tuple[frozenset[int], list[ray.ObjectRef]]:
    """Of what comes to a window from step ``before``: which windows' the worker holds itself, and where the others are.

    Raises ``InputGone``.
    """
    local, refs = set(), []
    for route, part in zip(order.incoming, sent, strict=True):
        if part.holder is worker:
            local.add(route.source)
            continue
        part.keep(pool, order.video, before, route.source)
        if part.ref is None:
            raise InputGone(f"what window {route.source} left")
        refs.append(part.ref)
    return frozenset(local), refs


async def secure(video: str, parts: Sequence[Sent], pool: Pool, doubtful: bool) -> None:
    """Make again what was lost with the worker that held it; if ``doubtful``, also see whether the others are there.

    Raises ``PartsLost`` when that cannot be.
    """
    for part in parts:
        alive = pool.worker(part.worker) is not None
        if part.ref is None and alive and part.holder is not None and not doubtful:
            continue
        if part.ref is not None:
            if part.kept is None or (alive and not doubtful):
                continue
            try:
                await part.kept
            except RayError:
                pass
            else:
                # From there, then: a maker that has much of other videos to hold lets go of what is old.
                part.let_go()
                continue
        if part.again is None:
            raise PartsLost("a worker ended before they were in the object store")
        log.warning("%s: latents were lost with worker %d: making them again", video, part.worker)
        part.ref, part.worker = await part.again()
        part.let_go()
        part.kept = part.again = None
