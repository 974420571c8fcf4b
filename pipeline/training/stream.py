"""Clips for a training worker, made or read by Ray Data elsewhere, in the order in which they are wanted.

Which clips a step takes is a function of the step, so a run goes on where another stopped, whoever dies in between.
They come in rounds, each a small Dataset that is finished while the round before it is learnt from: a Dataset without
end, held back because nobody takes its blocks yet, keeps a core busy with asking whether somebody does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import ray
from ray.data import DataContext, Dataset

from model.training.batches import TrainingClip
from pipeline.ray_data import configure

MakeClip = Callable[[int], TrainingClip]
"""The clip with a given index in the run."""

_ROUND_BYTES_PER_CPU = 64 << 20
"""Of the clips of a round for each core that makes them, so that a round keeps all of them busy for seconds."""

_ROUND_SHARE = 0.1
"""Of the object stores' memory that a round takes at most; two rounds are in memory."""

_COLUMNS = ("frames", "guidance", "weights")


def clip_indices(step: int, clips: int, rank: int, world: int) -> list[int]:
    """Indices in the run of the clips that worker ``rank`` of ``world`` takes in a step of ``clips`` clips."""
    return [step * clips + i for i in range(rank, clips, world)]


def stream_clips(
    make: MakeClip, first_step: int, steps: int, clips: int, rank: int, world: int, clip_bytes: int
) -> Iterator[list[TrainingClip]]:
    """This worker's clips of each step from ``first_step`` to ``steps`` - 1.

    ``make`` runs in Ray Data's tasks; a clip has about ``clip_bytes``.
    """
    per_step = len(clip_indices(0, clips, rank, world))
    round_steps = max(1, round_bytes() // (clip_bytes * clips))
    rounds = [range(start, min(start + round_steps, steps)) for start in range(first_step, steps, round_steps)]
    with ThreadPoolExecutor(1) as ahead:

        def begin(number: int) -> Future[Dataset] | None:
            if number == len(rounds):
                return None
            return ahead.submit(_made, make, [clip_indices(step, clips, rank, world) for step in rounds[number]])

        following = begin(0)
        for number in range(len(rounds)):
            assert following is not None
            current, following = following.result(), begin(number + 1)
            for batch in current.iter_batches(batch_size=per_step, prefetch_batches=0):
                columns = (batch[name] for name in _COLUMNS)
                yield [TrainingClip(*arrays) for arrays in zip(*columns, strict=True)]


def round_bytes() -> int:
    """Of the clips that all workers' rounds hold together."""
    total = ray.cluster_resources()
    return int(min(_ROUND_BYTES_PER_CPU * total.get("CPU", 1.0), _ROUND_SHARE * total.get("object_store_memory", 0.0)))


def _made(make: MakeClip, steps: list[list[int]]) -> Dataset:
    """The clips of some steps, in the object store."""
    indices = [index for step in steps for index in step]
    configure()
    context = DataContext.get_current()
    # The order is what was asked for, and a step without one of its clips would be another step.
    context.execution_options.preserve_order = True
    context.max_errored_blocks = 0
    # Wrapped, what is wrong with a file or row would not be a ValueError, and be tried again.
    context.raise_original_map_exception = True
    tasks = max(1, min(len(indices), 2 * int(ray.cluster_resources().get("CPU", 1))))
    return ray.data.from_items(indices, override_num_blocks=tasks).map_batches(_Make(make), batch_size=1).materialize()


class _Make:
    """Indices to clips, as columns of arrays."""

    def __init__(self, make: MakeClip) -> None:
        self._make = make

    def __call__(self, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        clips = [self._make(int(index)) for index in batch["item"]]
        return {name: np.stack([getattr(clip, name) for clip in clips]) for name in _COLUMNS}
