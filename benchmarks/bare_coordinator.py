"""What Ray itself takes for a step of many windows: two calls a window, tensors of real size, and no thought.

The peer of `segment_scaling`: no video, no plan, no pool, no loss that would be noticed. An actor gives every worker
frame 0 and its neighbours' frames, and has what the worker keeps put into the object store while the next step is under
way.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import ray

from cluster.coordinator import RAY_SETTINGS


class BareWorker:
    """Sleeps; gives ``frames`` of latents ``shape`` = (4, h, w) to each neighbour, and keeps ``kept``."""

    def __init__(self, seconds: float, shape: tuple[int, int, int], frames: int, kept: int) -> None:
        self._seconds = seconds
        self._share = np.zeros(shape, np.float32).tobytes()
        self._part, self._kept = np.zeros((frames, *shape), np.float32), np.zeros((kept, *shape), np.float32)

    def ready(self) -> None:
        pass

    def step(self, reference: bytes, *neighbours: np.ndarray) -> tuple[bytes, np.ndarray, np.ndarray]:
        time.sleep(self._seconds)
        return self._share, self._part, self._part

    def keep(self) -> np.ndarray:
        return self._kept


class BareCoordinator:
    """One window for each of its ``workers``, which are made with ``arguments``."""

    def __init__(self, workers: int, cpus: float, *arguments: Any) -> None:
        remote: Any = ray.remote(num_cpus=cpus, concurrency_groups={"keep": 1})(BareWorker)  # type: ignore[call-overload]
        options = {"runtime_env": {"env_vars": RAY_SETTINGS}}
        self._workers = [remote.options(**options).remote(*arguments) for _ in range(workers)]

    async def ready(self) -> None:
        await asyncio.gather(*(worker.ready.remote() for worker in self._workers))

    async def run(self, steps: int) -> tuple[float, float]:
        """Seconds that so many steps take, and CPU seconds of this process in them; a step before them warms up."""
        step = [worker.step.options(num_returns=3) for worker in self._workers]
        keep = [worker.keep.options(concurrency_group="keep") for worker in self._workers]
        reference, calls, kept = b"", list[list[ray.ObjectRef]](), list[ray.ObjectRef]()
        for number in range(1 + steps):
            if number == 1:
                start, cpu = time.monotonic(), time.process_time()
            calls = [call.remote(reference, *_neighbours(calls, place)) for place, call in enumerate(step)]
            kept = [call.remote() for call in keep]
            shares = await asyncio.gather(*(refs[0] for refs in calls))
            reference = np.mean([np.frombuffer(share, np.float32) for share in shares], axis=0).tobytes()
        del kept
        return time.monotonic() - start, time.process_time() - cpu


def _neighbours(calls: list[list[ray.ObjectRef]], place: int) -> list[ray.ObjectRef]:
    """What the last step left for it: the part to the right of the one before, that to the left of the one behind."""
    return [refs[2] for refs in calls[max(place - 1, 0) : place]] + [refs[1] for refs in calls[place + 1 : place + 2]]
