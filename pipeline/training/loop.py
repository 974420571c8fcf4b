"""The loop that every training worker runs: steps, metrics, validation, pictures, states, and the export at the end."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.training.batches import TrainingClip
from pipeline.progress_line import time_left
from pipeline.storage import Storage
from pipeline.training.learner import Learner
from pipeline.training.parallel import Workers
from pipeline.training.pictures import sample_grid
from pipeline.training.run_state import load_state, read_metrics, save_state
from pipeline.training.stream import MakeClip, clip_indices, stream_clips

log = logging.getLogger(__name__)

_SAY_EVERY_S = 20

VALIDATION_SEED = 7
"""Of the noise in the validation loss, the same at every validation, so that losses can be compared."""


@dataclass(frozen=True)
class Pace:
    """How often things happen, in steps, and when to stop, in minutes; none of it changes what is learnt."""

    save_every: int = 200
    validate_every: int = 200
    picture_every: int = 500
    max_minutes: float | None = None


@dataclass(frozen=True)
class Work:
    """One run, as a worker is told of it. ``held_out`` clips are validated on, the first of them drawn;
    ``fingerprint`` is of everything else that the result depends on than the weights that ``load`` reads.
    """

    load: Callable[[Workers], Learner]
    make: MakeClip
    held_out: Callable[[], list[TrainingClip]]
    output: str
    fingerprint: str
    pace: Pace
    threads: int
    clip_bytes: int


def train(work: Work, workers: Workers) -> None:
    """Run until the last step, or until time is up.

    Rank 0 writes; every rank must see the same state, and computes along what takes all of them.
    """
    start = time.monotonic()
    rank, world = workers.rank, workers.world
    torch.set_num_threads(work.threads)
    storage = Storage(work.output)
    learner = work.load(workers)
    # The same paths may hold other weights by now.
    fingerprint = hashlib.sha256(f"{work.fingerprint} {learner.networks.digest}".encode()).hexdigest()
    state = load_state(storage, fingerprint)
    if state is not None:
        learner.restore(state)
        log.info("going on from step %d", learner.step)
    # Read by nobody again, and as large as weights, moments and averages together.
    del state
    report = Report(storage, learner.step, learner.settings.steps) if rank == 0 else None
    settings, pace = learner.settings, work.pace
    held_out = work.held_out()
    stream = stream_clips(work.make, learner.step, settings.steps, settings.batch, rank, world, work.clip_bytes)
    for clips in stream:
        indices = clip_indices(learner.step, settings.batch, rank, world)
        began = time.monotonic()
        found = learner.train(clips, indices)
        done = learner.step
        over = pace.max_minutes is not None and workers.first_says(time.monotonic() - start > 60 * pace.max_minutes)
        last = done == settings.steps or over
        if report is not None:
            report.step(done - 1, {**found, "seconds": time.monotonic() - began})
        if held_out and (done % pace.validate_every == 0 or last):
            loss = validation_loss(learner, held_out)
            if report is not None:
                report.validation(loss)
        if done % pace.save_every == 0 or last:
            state = {**learner.state(), "fingerprint": fingerprint}
            if report is not None:
                save_state(storage, done, state, report.taken())
            del state
        # After what is saved: where there is no memory for it, the next try goes on behind it.
        if held_out and (done % pace.picture_every == 0 or last):
            with learner.averaged():
                png = sample_grid(learner.networks, held_out[:3], settings.objective == "autoencoding")
            if report is not None:
                report.picture(done, png)
        if last:
            break
    publish(storage, learner, held_out)


@torch.no_grad()
def validation_loss(learner: Learner, held_out: list[TrainingClip]) -> float:
    """Mean loss of the averaged networks, with the same noise every time."""
    with learner.averaged():
        losses = [learner.losses([clip], [index], VALIDATION_SEED) for index, clip in enumerate(held_out)]
    return float(torch.cat(losses).mean())


def publish(storage: Storage, learner: Learner, held_out: list[TrainingClip]) -> None:
    """The averaged networks in the released format, under ``export``; with the metrics of the whole run beside them.

    Rank 0 writes them there; where they are spread, the others take part in putting them together.
    """
    if learner.workers.rank > 0 and not learner.workers.shard:
        return
    with tempfile.TemporaryDirectory() as scratch:
        learner.export(Path(scratch), held_out)
        if learner.workers.rank > 0:
            return
        for path in sorted(Path(scratch).rglob("*")):
            if path.is_file():
                storage.put(path, f"export/{path.relative_to(scratch).as_posix()}")
    rows = read_metrics(storage)
    storage.write("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())


class Report:
    """What rank 0 tells: metrics kept until the next state, TensorBoard, the log, pictures."""

    def __init__(self, storage: Storage, first_step: int, steps: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._storage = storage
        self._board: Any = SummaryWriter(storage.path("tensorboard"), purge_step=first_step)
        self._first, self._steps = first_step, steps
        self._start = time.monotonic()
        self._said = -math.inf
        self._rows: list[dict[str, Any]] = []

    def step(self, step: int, found: dict[str, float]) -> None:
        """A step's metrics. Of those that are not finite, which JSON does not know, its row has ``None``."""
        self._rows.append({"step": step, **{name: _finite(value) for name, value in found.items()}})
        if not math.isfinite(found["gradient_norm"]):
            log.warning("step %d: nothing is learnt from its clips, whose gradients are not finite", step + 1)
        for name, value in found.items():
            self._board.add_scalar(name, value, step)
        now = time.monotonic()
        if now - self._said >= _SAY_EVERY_S or step + 1 == self._steps:
            self._said = now
            done = step + 1 - self._first
            left = time_left(now - self._start, done / (self._steps - self._first))
            rate = f"{done / (now - self._start):.2f} steps/s"
            log.info(
                " · ".join(filter(None, (f"step {step + 1}/{self._steps}", f"loss {found['loss']:.4f}", rate, left)))
            )

    def validation(self, loss: float) -> None:
        """The validation loss after the last step."""
        row = self._rows[-1]
        row["validation_loss"] = _finite(loss)
        self._board.add_scalar("validation_loss", loss, row["step"])
        log.info("step %d · validation loss %.4f", row["step"], loss)

    def picture(self, done: int, png: bytes) -> None:
        """A grid of samples after so many steps."""
        self._storage.write(f"samples/{done:07}.png", png)

    def taken(self) -> list[dict[str, Any]]:
        """The metrics since the last call."""
        self._board.flush()
        rows, self._rows = self._rows, []
        return rows


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
