"""The actor that animates: a row with its poses becomes a video and its record, or a reason why not."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from cluster.client import animate
from cluster.exiting import exit_at_once
from cluster.pool import WorkersUnusable
from cluster.snapshots import Snapshots
from cluster.video_run import KillsWorkers
from model.artifacts import sha256
from model.embedded import weights_of
from model.images import read_image
from model.scene import Scene, compose
from model.weight_files import latent_grid
from pipeline.encoding import VideoWriter
from pipeline.inputs import InputError, identify, local_copy
from pipeline.layout import SEEN, side_by_side
from pipeline.poses import is_pose_table
from pipeline.progress import Reporter
from pipeline.quarantine import Quarantined
from pipeline.records import STATE, record_name, settings_dict, video_name, write_record
from pipeline.scratch import scratch
from pipeline.storage import Storage
from pipeline.tasks import ModelChoice, Posed, Task, pack, unpack

log = logging.getLogger(__name__)


class AnimateRows:
    """A row with its poses -> its video and its record, or the reason why not. The pool of workers does the work."""

    def __init__(
        self,
        choice: ModelChoice,
        weights: str,
        coordinator: Any,
        snapshot_every: int,
        storage: Storage,
        board: str,
    ) -> None:
        exit_at_once()
        self._choice, self._weights = choice, weights
        self._grid = latent_grid(weights_of(choice.model, choice.checkpoint)[0])
        self._coordinator, self._snapshot_every = coordinator, snapshot_every
        self._storage = storage
        self._reporter = Reporter(board)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        work = unpack(row["packed"])
        return pack(work if isinstance(work, Quarantined) else self._outcome(work))

    def _outcome(self, work: Posed) -> dict[str, Any] | Quarantined:
        task = work.task
        frames = 0
        try:
            record = self._make(work)
            frames = record["output"]["frames"]
            return record
        except WorkersUnusable as error:
            return task.failed(error, "model")
        except KillsWorkers as error:
            log.warning("%s: quarantined: %s", task.row.id, error)
            return task.failed(error, "worker")
        except Exception as error:
            log.exception("%s: quarantined", task.row.id)
            return task.failed(error, "animate")
        finally:
            self._reporter.finish(task.row.id, frames)

    def _make(self, posed: Posed) -> dict[str, Any]:
        task, settings = posed.task, posed.task.row.settings
        start = time.monotonic()
        with (
            local_copy(task.reference.uri) as reference_path,
            local_copy(task.driving.uri) as driving_path,
            scratch() as folder,
        ):
            reference = read_image(reference_path)
            half = self._choice.dtype == "float16"
            scene = compose(reference, posed.reference, posed.driving, settings.animation, half)
            if scene.note:
                log.warning("%s: %s", task.row.id, scene.note)
            video = folder / "video.mp4"
            snapshots = Snapshots(self._storage, f"{STATE}/{task.row.id}/{task.fingerprint}")
            audio = None if is_pose_table(task.driving.uri) else driving_path
            with VideoWriter(video, fps=settings.fps, audio=audio) as writer:
                for frame in self._frames(scene, task, snapshots):
                    writer.write(frame)
            # What was read must be what the fingerprint says.
            for kind, input_file in (("reference", task.reference), ("driving", task.driving)):
                known = {(input_file.uri, input_file.version): input_file.sha256}
                if identify(input_file.uri, kind, known).sha256 != input_file.sha256:
                    raise InputError(f"{kind} {input_file.uri} changed while it was used; run again")
            seconds = time.monotonic() - start
            record = self._record(posed, scene, video, frame.shape, writer.has_audio, seconds)
            # A reader may see no record, but never one that speaks of another video than the one beside it.
            self._storage.remove(record_name(task.row.id))
            self._storage.put(video, video_name(task.row.id))
        write_record(self._storage, task.row.id, record)
        try:
            snapshots.clear()
        except Exception as error:  # every store has exceptions of its own
            log.warning("%s: is made, but its snapshot was not removed (%s)", task.row.id, error)
        return record

    def _frames(self, scene: Scene, task: Task, snapshots: Snapshots) -> Iterator[np.ndarray]:
        def progress(stage: str, done: int, total: int) -> None:
            self._reporter.report(task.row.id, stage, done, total)

        settings = task.row.settings
        frames = animate(
            self._coordinator,
            task.row.id,
            scene,
            settings.animation,
            snapshots,
            self._snapshot_every,
            progress,
            self._grid,
        )
        if settings.layout == "result":
            yield from frames
            return
        for guidance, frame in zip(scene.guidance(), frames, strict=True):
            yield side_by_side([scene.picture, guidance, frame], max(frame.shape[0], SEEN))

    def _record(
        self,
        posed: Posed,
        scene: Scene,
        video: Path,
        shape: tuple[int, ...],
        audio: bool,
        seconds: float,
    ) -> dict[str, Any]:
        task, frames = posed.task, len(posed.driving)
        settings = task.row.settings
        return {
            "id": task.row.id,
            "fingerprint": task.fingerprint,
            "inputs": {"reference": vars(task.reference), "driving": vars(task.driving)},
            "settings": settings_dict(settings),
            "weights": {**vars(self._choice), "digest": self._weights},
            "poses": {
                "people": posed.people,
                "frames_seen": int(posed.driving.seen.sum()),
                "reference_seen": bool(posed.reference.seen.any()),
                "note": scene.note,
            },
            "windows": max(len(plan.windows) for plan in settings.animation.plans(frames)),
            "output": {
                "video": video_name(task.row.id),
                "sha256": sha256(video),
                "bytes": video.stat().st_size,
                "frames": frames,
                "fps": settings.fps,
                "duration_s": frames / settings.fps,
                "width": shape[1],
                "height": shape[0],
                "audio": audio,
            },
            "timings_s": {"poses": round(posed.seconds, 3), "animate": round(seconds, 3)},
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "code_version": code_version(),
            "row": dict(task.row.row),
        }


def code_version() -> str:
    """The installed version of this package."""
    try:
        return version("mimicmotion-pipeline")
    except PackageNotFoundError:
        # A job's working directory is code that was sent, not installed.
        return "uninstalled"
