"""Latents on their way between two steps: in a node's memory or in the object store, and made again if lost."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.node_memory import PartKey, folder, read
from cluster.orders import packed
from cluster.pool import Pool, Worker
from model.messages import Part

log = logging.getLogger(__name__)


class PartsLost(RuntimeError):
    """Latents that were on a node that is gone."""


@dataclass(eq=False)
class Sent:
    """A part on its way: its ``key`` and bytes, and the ``worker`` that made it, on ``node``. ``ref`` is where it is in
    the object store, ``None`` as long as only its node has it; ``kept`` tells whether it has got there from the node;
    ``again`` makes it anew, while there is what it was made from.
    """

    key: PartKey
    nbytes: int
    worker: int
    node: str
    ref: ray.ObjectRef | None
    kept: ray.ObjectRef | None = None
    again: Callable[[], Awaitable[tuple[ray.ObjectRef, int]]] | None = None

    def keep(self, pool: Pool) -> ray.ObjectRef:
        """Have it put into the object store, for those on other nodes: by its maker, by any worker on the maker's node,
        or by a process of its own there.
        """
        if self.ref is None:
            worker = pool.worker(self.worker) or pool.somebody_on(self.node)
            if worker is not None:
                self.kept, self.ref = worker.ask("keep", 2, packed(self.key), concurrency_group="keep")
            else:
                there = NodeAffinitySchedulingStrategy(self.node, soft=False)
                fetch: Any = ray.remote(_fetched).options(num_cpus=0, num_returns=2, scheduling_strategy=there)
                self.kept, self.ref = fetch.remote(pool.run_name, self.node, self.key)
        return self.ref


def _fetched(run: str, node: str, key: PartKey) -> tuple[None, Part]:
    return None, read(folder(run, node), key)


def inputs(sent: Sequence[Sent], worker: Worker, pool: Pool) -> tuple[frozenset[int], list[ray.ObjectRef]]:
    """Of what comes to a window or chunk: which windows' is in the memory of the worker's node, and where the others
    are.
    """
    local, refs = set(), []
    for part in sent:
        if part.ref is None and part.node == worker.node:
            local.add(part.key.source)
        else:
            refs.append(part.keep(pool))
    return frozenset(local), refs


async def secure(video: str, parts: Sequence[Sent], pool: Pool, doubtful: bool) -> None:
    """Make again what was lost with the node that had it; if ``doubtful``, see whether the others can be had.

    Raises ``PartsLost`` when that cannot be.
    """
    for part in parts:
        if part.ref is not None and part.kept is None:
            # Given to the object store by its maker. Ray says when it is lost.
            continue
        lost = part.node in pool.lost_nodes
        if not lost and not doubtful:
            continue
        try:
            if not lost:
                part.keep(pool)
            if part.kept is not None:
                await part.kept
                continue
        except RayError:
            pass
        if part.again is None:
            raise PartsLost(f"what window {part.key.source} left after step {part.key.step} went with its node")
        log.warning("%s: latents were lost with worker %d: making them again", video, part.worker)
        part.ref, part.worker = await part.again()
        part.kept = part.again = None
