"""How the cluster is divided between the stages of a job."""

from __future__ import annotations

from dataclasses import dataclass

import ray

from cluster.demand import WorkerDemand


@dataclass(frozen=True)
class Resources:
    """What each kind of actor asks Ray for, and how many there are. ``videos`` are those in work at the same time."""

    workers: WorkerDemand
    videos: int
    video_cpus: float
    pose_workers: int
    pose_cpus: float
    pose_gpus: float
    pose_threads: int

    @staticmethod
    def of(
        device: str, estimator: str, wanted: int | None, per_gpu: int, threads: int, rows: int, driving: int
    ) -> Resources:
        """Divide the cluster between ``rows`` to animate and ``driving`` videos whose poses are estimated.

        ``wanted`` is the number of segment workers, if somebody has chosen it: those that there is no room for now are
        asked for all the same, so that an autoscaler sees them. Otherwise it is ``per_gpu`` for each GPU, and without
        GPUs one for two cores, each of ``threads`` threads. Raises ``ValueError`` when a GPU was asked for, there is
        none, and nobody has said how many are to come.

        Pose workers get a share of the cores beside them; together they ask for less than there is, since a Dataset
        beside actors that hold every core waits for one for ever.
        """
        cpus, gpus, smallest = _cluster(device, awaited=wanted is not None)
        on_gpu = device.startswith("cuda")
        # DWPose is quick on a GPU and slow without; the embedded estimator runs on cores.
        pose_on_gpu = on_gpu and estimator == "dwpose"
        if on_gpu:
            count = wanted or int(gpus) * per_gpu
            worker_cpus = 1.0 if cpus >= 2 * count else min(0.5 * cpus / count, 0.5 * smallest)
            # What of a GPU is left to poses is left on every GPU, since nobody knows on which they will be.
            demand = WorkerDemand(wanted, worker_cpus, (0.75 if pose_on_gpu else 1.0) / per_gpu, per_gpu)
        else:
            count = wanted or max(min(2, int(cpus) // threads), int(cpus) // (2 * threads), 1)
            demand = WorkerDemand(count, min(0.5 * cpus / count, 0.5 * smallest, float(threads)))
        pose_workers = min(driving, max(1, int(gpus // 4) if pose_on_gpu else int(cpus // 4)))
        # While some are being finished or wait between two steps, others keep the workers busy.
        videos = min(rows, count + max(1, count // 2))
        return Resources(
            workers=demand,
            videos=videos,
            video_cpus=min(0.1 * cpus / videos, 0.1 * smallest),
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


def _cluster(device: str, awaited: bool = False) -> tuple[float, float, float]:
    """Cores, GPUs, and the cores of the smallest node.

    Raises ``ValueError`` where ``device`` is not there, and nobody has said that it is ``awaited``.
    """
    total = ray.cluster_resources()
    cpus, gpus = total.get("CPU", 1.0), total.get("GPU", 0.0)
    # A head that is to run nothing has no cores to offer, and is not the smallest node that counts.
    smallest = min((n["Resources"]["CPU"] for n in ray.nodes() if n["Alive"] and "CPU" in n["Resources"]), default=1.0)
    if device.startswith("cuda") and gpus < 1 and not awaited:
        raise ValueError(
            f"device is {device!r}, but the Ray cluster has no GPU; choose cpu, or say how many --workers will come"
        )
    return cpus, gpus, smallest
