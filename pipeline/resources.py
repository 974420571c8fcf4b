"""How the cluster is divided between the stages of a job."""

from __future__ import annotations

from dataclasses import dataclass

import ray


@dataclass(frozen=True)
class Resources:
    """How many actors of each kind, and what each asks Ray for."""

    workers: int
    cpus: float
    gpus: float
    threads: int
    pose_workers: int
    pose_cpus: float
    pose_gpus: float
    pose_threads: int

    @staticmethod
    def of(device: str, estimator: str, wanted: int | None, rows: int, videos: int) -> Resources:
        """Divide the cluster between animating ``rows`` and estimating the poses of ``videos``.

        ``wanted`` is the number of animating workers, if somebody has chosen it. Raises ``ValueError`` when a GPU was
        asked for and there is none.

        On GPUs one animating worker each, without them one for four cores. Pose workers get a share of the cores beside
        them; together they ask for less than there is, since a Dataset whose actors hold every core can deadlock.
        """
        cpus, gpus, smallest = _cluster(device)
        on_gpu = device.startswith("cuda")
        workers = min(rows, wanted or max(1, int(gpus if on_gpu else cpus // 4)))
        # DWPose is quick on a GPU and slow without; the embedded estimator runs on cores.
        pose_on_gpu = on_gpu and estimator == "dwpose"
        pose_workers = min(videos, max(1, int(gpus // 4) if pose_on_gpu else int(cpus // 4)))
        # A fraction has to fit on one GPU beside the others there, so whole workers are dealt to GPUs first.
        share = (0.75 if pose_on_gpu else 1.0) / -(-workers // int(gpus)) if on_gpu else 0.0
        return Resources(
            workers=workers,
            cpus=1.0 if on_gpu and cpus >= 2 * workers else min(0.5 * cpus / workers, 0.5 * smallest),
            gpus=share,
            threads=max(1, int(min(cpus / workers, smallest))),
            pose_workers=pose_workers,
            pose_cpus=min(0.3 * cpus / pose_workers, 0.3 * smallest),
            pose_gpus=0.25 if pose_on_gpu else 0.0,
            pose_threads=max(1, int(0.5 * cpus / pose_workers)) if estimator == "dwpose" else 1,
        )


@dataclass(frozen=True)
class PoseResources:
    """How many actors estimate poses, where that is all there is to do, and what each asks Ray for."""

    workers: int
    cpus: float
    gpus: float
    threads: int

    @staticmethod
    def of(device: str, estimator: str, wanted: int | None, videos: int) -> PoseResources:
        """Divide the cluster among ``wanted`` workers: by default one a GPU for DWPose on GPUs, else one a core.

        Raises ``ValueError`` when a GPU was asked for and there is none.
        """
        cpus, gpus, smallest = _cluster(device)
        on_gpu = device.startswith("cuda") and estimator == "dwpose"
        workers = max(1, min(videos, wanted or int(gpus if on_gpu else cpus)))
        return PoseResources(
            workers=workers,
            # Less than all there is: a Dataset whose actors hold every core can deadlock.
            cpus=min(0.9 * cpus / workers, 0.9 * smallest, 1.0),
            gpus=1.0 / -(-workers // int(gpus)) if on_gpu else 0.0,
            threads=max(1, int(min(cpus / workers, smallest))) if estimator == "dwpose" else 1,
        )


def _cluster(device: str) -> tuple[float, float, float]:
    """Cores, GPUs, and the cores of the smallest node. Raises ``ValueError`` where ``device`` is not there."""
    total = ray.cluster_resources()
    cpus, gpus = total.get("CPU", 1.0), total.get("GPU", 0.0)
    # A head that is to run nothing has no cores to offer, and is not the smallest node that counts.
    smallest = min((n["Resources"]["CPU"] for n in ray.nodes() if n["Alive"] and "CPU" in n["Resources"]), default=1.0)
    if device.startswith("cuda") and gpus < 1:
        raise ValueError(f"device is {device!r}, but the Ray cluster has no GPU; choose cpu")
    return cpus, gpus, smallest
