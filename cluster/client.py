"""A video made by the pool, as an iterator of frames: what ``Animator.animate`` is on one device."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError

from cluster.content import SceneContent
from cluster.coordinator import UnknownVideo
from cluster.snapshots import Snapshots
from cluster.video_run import VideoJob
from model.decoded import join, to_levels
from model.framing import RELEASED_GRID, LatentGrid
from model.scene import Scene
from model.settings import AnimationSettings, parse_guidance

if TYPE_CHECKING:
    from model.animator import Progress

_RESTARTS = 5


def animate(
    coordinator: Any,
    name: str,
    scene: Scene,
    settings: AnimationSettings,
    snapshots: Snapshots | None = None,
    save_every: int = 5,
    progress: Progress | None = None,
    grid: LatentGrid = RELEASED_GRID,
) -> Iterator[np.ndarray]:
    """The video, frame after frame, (H, W, 3) uint8 RGB, as many as the scene has poses.

    ``name`` tells videos apart that are made at the same time; ``snapshots`` is where a run that is killed can be taken
    up again, every ``save_every`` steps. A coordinator that is lost is waited for, and the video begun again from its
    last snapshot. ``grid`` says how large its latents are, so that no more videos are begun than there is memory for.
    Raises what a worker raises, ``KillsWorkers`` and ``WorkersUnusable``.
    """
    plans, spans = settings.plans(len(scene.poses)), settings.decode_spans(len(scene.poses))
    job = VideoJob(name, plans, tuple(spans), max(parse_guidance(settings.guidance)) > 1, snapshots, save_every)
    content = ray.put(SceneContent.of(scene, settings, snapshots))

    def ask(method: str, *arguments: Any) -> Any:
        try:
            return ray.get(getattr(coordinator, method).remote(*arguments))
        except RayTaskError as error:
            raise error.cause from error

    def chunks() -> Iterator[list[np.ndarray]]:
        number, restarts = 0, 0
        begun = False
        while number < len(spans):
            try:
                if not begun:
                    ask("start", job, [content], latent_bytes(scene, grid))
                    begun, done = True, -1
                    while done < settings.steps:
                        done = ask("steps_done", name, done)
                        if progress is not None:
                            progress("step", done, settings.steps)
                (chunk,) = ask("chunk", name, number)
                frames = ray.get(chunk).frames()
            except (RayActorError, UnknownVideo, ObjectLostError) as error:
                # The coordinator's successor knows nothing of the video. A chunk that went with its node is decoded
                # again when it is asked for again.
                restarts, begun = restarts + 1, isinstance(error, ObjectLostError)
                if restarts > _RESTARTS:
                    raise
                time.sleep(restarts)
                continue
            yield frames
            number, restarts = number + 1, 0

    try:
        for number, frame in enumerate(join(chunks(), spans), start=spans[0][0]):
            if number == 0:
                continue
            if frame.dtype != np.uint8:
                levels = to_levels(frame, truncate=settings.style == "released")
                frame = np.ascontiguousarray(levels.astype(np.uint8).transpose(1, 2, 0))
            yield frame
            if progress is not None:
                progress("frame", number, len(scene.poses))
    finally:
        coordinator.finish.remote(name)


def latent_bytes(scene: Scene, grid: LatentGrid) -> int:
    """Of the latents of all frames, in float32."""
    return (len(scene.poses) + 1) * 4 * math.prod(grid.shape(*scene.picture.shape[:2]))
