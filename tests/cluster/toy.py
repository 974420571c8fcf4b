"""A network of one line behind the real arithmetic, so that losses can be tried out in seconds."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from cluster import line, node_memory
from cluster.coordinator import create
from cluster.demand import WorkerDemand
from cluster.snapshots import Snapshots
from cluster.video_run import VideoJob
from model.euler import euler_step
from model.fuser import Fuser
from model.fusion import step_plans
from model.handover import assemble, hand_over, to_array, to_tensor
from model.messages import Assembly, Chunk, Opening, Part
from model.routes import Route
from model.sampler import karras_sigmas

STEPS = 6
SHAPE = (4, 16, 16)
CPU = torch.device("cpu")


def network(window: torch.Tensor) -> torch.Tensor:
    """A prediction in which every frame depends on the whole window."""
    place = torch.arange(len(window), dtype=torch.float32).view(-1, 1, 1, 1)
    return (window * 1e-3).tanh() + 1e-4 * window.mean() + 0.01 * place


def noise(frames: Sequence[int]) -> torch.Tensor:
    return torch.stack([700 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(f)) for f in frames])


@dataclass(frozen=True)
class ToyContent:
    """Nothing but where snapshots are."""

    snapshots: Snapshots | None = None

    def fetched(self) -> None:
        return None


@dataclass
class ToyEngine:
    """A window takes ``seconds``; ``deadly`` names a video whose window with that frame ends the process, ``lagging``
    one whose window with that frame waits in the first step until a file is there; ``log`` is a file that gets a line
    with the video's name for each window.
    """

    seconds: float = 0.0
    deadly: tuple[str, int] | None = None
    lagging: tuple[str, int, Path] | None = None
    log: Path | None = None
    sigmas: torch.Tensor = field(default_factory=lambda: karras_sigmas(STEPS))

    def open(self, name: str, video: Any) -> Opening:
        return Opening(tuple(self.sigmas.tolist()), to_array(noise([0])[0]), "float32")

    def close(self, name: str) -> None:
        pass

    def assemble(self, name: str, assembly: Assembly, parts: Sequence[Part], reference: np.ndarray) -> torch.Tensor:
        others = [frame for frame in assembly.frames if frame != 0]
        latents = assemble(assembly, parts, self.sigmas, torch.float32, CPU) if assembly.incoming else noise(others)
        first = to_tensor(reference, torch.float32, CPU)[None]
        return torch.cat([first, latents]) if assembly.frames[0] == 0 else latents

    def saved(self, latents: torch.Tensor) -> np.ndarray:
        return to_array(latents)

    def restored(self, name: str, saved: np.ndarray) -> torch.Tensor:
        return to_tensor(saved, torch.float32, CPU)

    def predict(self, name: str, assembly: Assembly, latents: torch.Tensor) -> torch.Tensor:
        if self.log is not None:
            with self.log.open("a") as log:
                log.write(f"{name}\n")
        time.sleep(self.seconds)
        if self.deadly is not None and name == self.deadly[0] and self.deadly[1] in assembly.frames:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.lagging is not None and assembly.step == 0:
            video, frame, file = self.lagging
            while name == video and frame in assembly.frames and not file.exists():
                time.sleep(0.02)
        return network(latents)

    def half(self, name: str, assembly: Assembly, latents: torch.Tensor, conditional: bool) -> np.ndarray:
        time.sleep(self.seconds / 2)
        return to_array(network(latents) * (0.75 if conditional else 0.25))

    def guide(self, name: str, assembly: Assembly, unconditional: np.ndarray, conditional: np.ndarray) -> torch.Tensor:
        return to_tensor(unconditional, torch.float32, CPU) + to_tensor(conditional, torch.float32, CPU)

    def hand_over(
        self,
        name: str,
        assembly: Assembly,
        latents: torch.Tensor,
        prediction: torch.Tensor,
        weight: float,
        outgoing: Sequence[Route],
    ) -> tuple[np.ndarray, list[Part]]:
        return hand_over(assembly, latents, prediction, weight, outgoing, self.sigmas)

    def decode(self, name: str, latents: torch.Tensor, shared: tuple[int, int]) -> Chunk:
        time.sleep(self.seconds)
        empty = np.zeros((0, *SHAPE), np.float32)
        # The latents themselves, as if they were pictures.
        return Chunk(to_array(latents), np.zeros((0, 1, 1, 3), np.uint8), empty)


def cut_off(load: Callable[[], ToyEngine], folder: Path, after: int) -> ToyEngine:
    """What ``load`` makes, in a worker whose line breaks when so many messages have come on it; a file tells that."""
    receive, left = line._receive, after

    def until_then(end: socket.socket) -> bytes:
        nonlocal left
        left -= 1
        if left < 0:
            (folder / str(os.getpid())).touch()
            raise ConnectionResetError
        return receive(end)

    line._receive = until_then
    return load()


def marked(load: Callable[[], ToyEngine], folder: Path, seconds: float) -> ToyEngine:
    """An engine whose loading takes a while, and can be seen from outside by the process's number in a folder."""
    (folder / str(os.getpid())).touch()
    time.sleep(seconds)
    return load()


def refusing(load: Callable[[], ToyEngine], folder: Path, first: int, last: int) -> ToyEngine:
    """An engine that cannot be loaded by the ``first`` of all processes that try, up to the ``last``, from 0."""
    (folder / str(os.getpid())).touch()
    if first <= len(list(folder.iterdir())) - 1 <= last:
        raise OSError("there is no GPU here")
    return load()


def remembering(load: Callable[[], ToyEngine], folder: Path) -> ToyEngine:
    """An engine in whose worker the node's memory is a folder."""
    node_memory._MEMORY = folder
    return load()


def without_room(load: Callable[[], ToyEngine]) -> ToyEngine:
    """An engine in whose worker the node's memory takes nothing."""

    def put(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    node_memory.NodeMemory.put = put  # type: ignore[method-assign]
    return load()


def loader(**engine: Any) -> Callable[[], ToyEngine]:
    return partial(ToyEngine, **engine)


def coordinator(workers: int, load: Callable[[], Any], cpus: float | None = None) -> Any:
    return create(load, WorkerDemand(workers, cpus if cpus is not None else 1.5 / workers))


def job(
    frames: int,
    name: str = "video",
    fusion: str = "progressive",
    snapshots: Snapshots | None = None,
    guided: bool = False,
) -> VideoJob:
    plans = step_plans(fusion, frames, 12, 4, STEPS)
    spans = tuple((start, min(start + 10, frames)) for start in range(1, frames, 10))
    return VideoJob(name, plans, spans, guided, snapshots, 2)


def in_one_loop(wanted: VideoJob) -> np.ndarray:
    """The latents (F - 1, 4, h, w) after the last step, frame 0 left out, made by one loop."""
    sigmas, frames = karras_sigmas(STEPS), wanted.plans[0].frames
    latents = noise(range(frames))
    for step, plan in enumerate(wanted.plans):
        fuser = Fuser(plan, latents, torch.float32)
        for index, members in enumerate(plan.windows):
            fuser.add(index, network(latents[list(members)]))
        latents = euler_step(latents, fuser.result(), sigmas[step].item(), sigmas[step + 1].item())
    return latents[1:].numpy()


def start(handle: Any, wanted: VideoJob) -> None:
    content = ray.put(ToyContent(wanted.snapshots))
    # Kept by whoever started the video, as the real one is.
    _KEPT.append(content)
    ray.get(handle.start.remote(wanted, [content], 0))


_KEPT: list[ray.ObjectRef] = []


def follow(handle: Any, wanted: VideoJob, on_step: Callable[[int], None] = lambda _done: None) -> None:
    done = -1
    while done < STEPS:
        done = ray.get(handle.steps_done.remote(wanted.name, done))
        on_step(done)


def fetch(handle: Any, wanted: VideoJob, on_chunk: Callable[[int], None] = lambda _number: None) -> np.ndarray:
    found = []
    for number in range(len(wanted.spans)):
        (chunk,) = ray.get(handle.chunk.remote(wanted.name, number))
        found.append(ray.get(chunk).head)
        on_chunk(number)
    ray.get(handle.finish.remote(wanted.name))
    return np.concatenate(found)


def pids(handle: Any) -> dict[int, int]:
    return ray.get(handle.figures.remote())["workers"]


def wait_for_workers(handle: Any, count: int) -> dict[int, int]:
    deadline = time.monotonic() + 60
    while len(found := pids(handle)) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} workers are there"
        time.sleep(0.1)
    return found
