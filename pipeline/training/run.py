"""A training run on Ray Train: what it starts from, who works on it, and what happens when a worker dies."""

from __future__ import annotations

import _thread
import functools
import hashlib
import json
import logging
import signal
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from cluster.own_node import own_node
from model.artifacts import join
from model.framing import LatentGrid
from model.keypoints import NUM_KEYPOINTS
from model.training.batches import TrainingClip
from model.training.starting import check_start, starting_networks
from model.weight_files import latent_grid
from pipeline.claim import Claim, StorageError
from pipeline.inputs import identify
from pipeline.ray_data import connect
from pipeline.storage import Storage
from pipeline.training.figure_clips import FigureClips
from pipeline.training.footage_clips import FootageClips
from pipeline.training.learner import Learner
from pipeline.training.loop import Pace, Work
from pipeline.training.parallel import Workers
from pipeline.training.plan import Plan, plan
from pipeline.training.refusal import Refusal
from pipeline.training.settings import TrainingSettings
from pipeline.training.train_here import train_here
from pipeline.video_summaries import NAME as VIDEOS

log = logging.getLogger(__name__)

_HELD_OUT = 6
_FAILURES = 5
_LOOKS_EVERY_S = 5.0


@dataclass(frozen=True)
class Request:
    """A run: ``model`` is an SVD folder, ``checkpoint`` a MimicMotion one, ``vae`` a folder with another VAE, all paths
    or URIs. ``clips`` is a table of clips with its ``poses`` folder; without one, figures are rendered, which
    ``motions``, files of real people's motion, drive beside what is made up. ``shard`` spreads what learns.
    """

    settings: TrainingSettings
    output: str
    model: str
    checkpoint: str | None
    vae: str | None
    motions: tuple[str, ...]
    clips: str | None
    poses: str | None
    workers: int
    threads: int
    device: str
    shard: bool
    pace: Pace

    @property
    def fingerprint(self) -> str:
        """Of what the result depends on, but for the weights that it starts from, which whoever loads them knows.

        Of data the contents count, and where they are. Raises ``InputError`` for those that are not there.
        """
        settings = asdict(self.settings)
        # Then a step is the same however many follow, unless a share of them decides which are on squares.
        if self.settings.schedule == "constant" and not self.settings.crop:
            del settings["steps"]
        motions = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in self.motions]
        clips = []
        if self.clips is not None:
            # Whose rows name what the poses of each video were made from and with.
            videos = join(self.poses_folder, VIDEOS)
            clips = [identify(uri, "table", {}).sha256 for uri in (self.clips, videos)]
        start = [self.model, self.checkpoint, self.vae, motions, self.clips, self.poses, clips, self.workers]
        return hashlib.sha256(json.dumps([settings, start], sort_keys=True).encode()).hexdigest()

    @property
    def poses_folder(self) -> str:
        """Where the poses of ``clips`` are: beside them, unless said."""
        return self.poses or (self.clips or "").rpartition("/")[0]


def checked(request: Request) -> Plan:
    """What the run would hold and learn, once everything that can be seen beforehand has been.

    Raises ``ValueError`` naming what cannot be.
    """
    settings = request.settings
    if settings.batch % request.workers:
        raise ValueError(f"batch is {settings.batch}, expected a multiple of the {request.workers} workers")
    check_start(settings.start, request.model, request.checkpoint, request.vae, (settings.height, settings.width))
    if settings.crop % (multiple := latent_grid(request.model).multiple):
        raise ValueError(
            f"crop is {settings.crop}, expected a multiple of {multiple}: the networks of {request.model} halve often"
        )
    if settings.crop and request.clips is not None:
        raise ValueError(
            f"crop is {settings.crop}, expected 0 with --clips: squares are cut out around rendered figures alone"
        )
    for path in request.motions:
        _check_motion(path, settings.frames)
    return plan(settings, request.model, request.vae, request.workers, request.shard)


def _check_motion(path: str, frames: int) -> None:
    try:
        motion = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"motions: {path} cannot be read ({error})") from error
    if motion.ndim != 3 or motion.shape[1:] != (NUM_KEYPOINTS, 2):
        raise ValueError(f"motions: {path} has shape {motion.shape}, expected frames x {NUM_KEYPOINTS} x 2")
    if len(motion) < frames:
        raise ValueError(
            f"motions: {path} has {len(motion)} frames, a clip takes {frames}; remove the file, or set fewer frames"
        )


def work_of(request: Request) -> Work:
    """What every worker is told."""
    grid = latent_grid(request.model)
    clips = _clips(request, grid)
    return Work(
        load=functools.partial(_load, request),
        make=clips,
        held_out=functools.partial(_held_out, clips),
        output=request.output,
        fingerprint=request.fingerprint,
        pace=request.pace,
        threads=request.threads,
        clip_bytes=clip_bytes(request.settings, grid),
    )


def run(request: Request) -> None:
    """Train until the last step or until time is up.

    Raises ``ValueError`` for a file, row or setting that a worker found wrong, and ``RuntimeError`` once workers have
    failed too often for other reasons.
    """
    print(checked(request).describe(), flush=True)
    connect(dashboard=True)
    cpus = ray.cluster_resources().get("CPU", 1.0)
    on_gpu = request.device == "cuda"
    if on_gpu and ray.cluster_resources().get("GPU", 0.0) < request.workers:
        log.warning("the cluster has no GPU for each of %d workers: waiting until it has", request.workers)
    worker_cpus = min(0.5 * cpus / request.workers, float(request.threads))
    name = f"mimicmotion-refusal-{uuid.uuid4().hex}"
    refusal: Any = Refusal.options(name=name, scheduling_strategy=own_node()).remote()  # type: ignore[attr-defined]
    with Storage(request.output).claimed() as claim, _while_ours(claim), tempfile.TemporaryDirectory() as scratch:
        trainer = TorchTrainer(
            train_here,
            # As bytes: whoever only hands them on need not know what networks are.
            train_loop_config={
                "work": ray.cloudpickle.dumps(work_of(request)),
                "shard": request.shard,
                "refusal": name,
            },
            scaling_config=ScalingConfig(
                num_workers=request.workers,
                use_gpu=on_gpu,
                resources_per_worker={"CPU": worker_cpus, **({"GPU": 1} if on_gpu else {})},
            ),
            run_config=RunConfig(storage_path=scratch, failure_config=FailureConfig(max_failures=_FAILURES)),
        )
        _fit(trainer)
    reason: str | None = ray.get(refusal.reason.remote())
    if reason is not None:
        raise ValueError(reason)


@contextmanager
def _while_ours(claim: Claim) -> Iterator[None]:
    """A block that ends, as at SIGTERM, when another run has taken the output: both would write its state.

    Raises ``StorageError`` then.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOKS_EVERY_S):
            try:
                claim.check()
            except StorageError as error:
                log.error("%s: ending", error)
                _thread.interrupt_main(signal.SIGTERM)
                return

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    except BaseException:
        claim.check()
        raise
    finally:
        over.set()
        watching.join()


def _fit(trainer: TorchTrainer) -> None:
    try:
        trainer.fit()
    except TrainingFailedError as error:  # which is no kind of RuntimeError
        raise RuntimeError(str(error)) from error
    except SystemExit as end:  # Ray Train's answer to the keyboard, when it has ended its workers
        raise KeyboardInterrupt from end


def _clips(request: Request, grid: LatentGrid) -> FigureClips | FootageClips:
    if request.clips is None:
        return FigureClips(request.settings, grid, request.motions)
    return FootageClips(request.settings, grid, request.clips, request.poses_folder)


def _held_out(clips: FigureClips | FootageClips) -> list[TrainingClip]:
    held_out = replace(clips, held_out=True)
    return [held_out(index) for index in range(_HELD_OUT)]


def clip_bytes(settings: TrainingSettings, grid: LatentGrid) -> int:
    """What a clip's arrays take: frames and guidance of a byte, and weights."""
    pixels = settings.frames * settings.height * settings.width
    return int(pixels * 3 * (1 + grid.guidance_scale**2) + 4 * pixels / grid.factor**2)


def _load(request: Request, workers: Workers) -> Learner:
    networks = starting_networks(
        request.settings.start, request.model, request.checkpoint, request.vae, request.settings.seed
    )
    return Learner(request.settings, networks, request.device, workers)
