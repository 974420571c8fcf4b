"""How many workers there are to be."""

from __future__ import annotations

import math
from dataclasses import dataclass

import ray


@dataclass(frozen=True)
class WorkerDemand:
    """How many workers, and what each asks Ray for. ``per_gpu`` workers for every GPU of the cluster, those that come
    later too, when ``count`` is ``None``.
    """

    count: int | None
    cpus: float
    gpus: float = 0.0
    per_gpu: int = 1

    def wanted(self) -> int:
        """How many there should be now."""
        return self.count or math.floor(ray.cluster_resources().get("GPU", 0.0)) * self.per_gpu
