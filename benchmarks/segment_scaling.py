"""How well a long video is spread over workers, what that costs, and what a lost worker costs.

    python -m benchmarks.segment_scaling [--only simulated] [--json figures.json]

`real`: the embedded network, one thread a worker, one and two workers beside a plain loop in one process.
`simulated`: the same coordinator and pool; workers sleep for as long as a window takes on a GPU (0.583 s is the floor
of an H100, 2.2 s what the best published engine would take) and return tensors of real size. Where each has one window,
also a bare coordinator in the same run, which makes the calls and does nothing else: what Ray takes on this machine.
`mixed`: the same with a catalog of long and short videos. `memory`: peaks by the length of the video. `recovery`: time
lost to a killed worker.

The ceiling is W / (G ceil(W/G)) of G workers for W windows: no plan can do better with whole windows.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import math
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray

from benchmarks.bare_coordinator import BareCoordinator
from benchmarks.simulated_engine import SimulatedContent, SimulatedEngine
from cluster.coordinator import RAY_SETTINGS, create
from cluster.demand import WorkerDemand
from cluster.video_run import VideoJob
from model.fusion import step_plans
from pipeline.report import table

WINDOW, OVERLAP = 72, 6
LATENT = (4, 72, 128)
FRAME_BYTES = math.prod(LATENT) * 4


def start_ray() -> None:
    os.environ["RAY_ADDRESS"] = "local"
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, object_store_memory=8 << 30)


def pool_of(workers: int, load: Any) -> Any:
    """A coordinator whose workers are all there."""
    handle = create(load, WorkerDemand(workers, _share(workers)))
    while len(ray.get(handle.figures.remote())["workers"]) < workers:
        time.sleep(0.2)
    return handle


def _share(workers: int) -> float:
    """CPUs that a worker asks Ray for, so that all find room twice."""
    return 0.5 * (os.cpu_count() or 1) / workers


def simulated_job(name: str, windows: int, steps: int, guided: bool = True) -> VideoJob:
    """A video of so many windows of 72 frames, neighbours sharing 6."""
    driving = windows * (WINDOW - 1 - OVERLAP) + OVERLAP
    plans = step_plans("progressive", driving + 1, WINDOW, OVERLAP, steps)
    assert len(plans[0].windows) == windows
    return VideoJob(name, plans, ((1, driving + 1),), guided, None, 5)


def begin(handle: Any, job: VideoJob, keep: list[Any]) -> None:
    keep.append(ray.put(SimulatedContent()))
    ray.get(handle.start.remote(job, [keep[-1]], 0))


def follow(handle: Any, job: VideoJob) -> Iterator[tuple[int, float]]:
    """Steps done, and when."""
    done = -1
    while done < job.steps:
        done = ray.get(handle.steps_done.remote(job.name, done))
        yield done, time.monotonic()


def idle_cpu(handle: Any, seconds: float = 3.0) -> float:
    """CPU seconds a second of a coordinator without a video, whose main thread Ray wakes as it does any actor's."""
    before = ray.get(handle.figures.remote())["cpu_seconds"]
    time.sleep(seconds)
    return (ray.get(handle.figures.remote())["cpu_seconds"] - before) / seconds


def simulated(workers: int, windows: int, seconds: float, steps: int) -> dict[str, Any]:
    """One long video. The first step, in which workers open it, is left out, and a video before it warms the store."""
    handle, keep = pool_of(workers, functools.partial(SimulatedEngine, seconds, LATENT)), list[Any]()
    idle = idle_cpu(handle)
    for name in ("warm", "measured"):
        job = simulated_job(name, windows, steps)
        begin(handle, job, keep)
        marks = {}
        for done, moment in follow(handle, job):
            if done == 1:
                before = ray.get(handle.figures.remote())
            marks[done] = moment
        after = ray.get(handle.figures.remote())
        ray.get(handle.finish.remote(name))
    ray.kill(handle)
    measured, counted = marks[steps] - marks[1], steps - 1
    peer = bare(workers, seconds, counted) if workers == windows > 1 else {}
    # With twice as many workers as windows, the two passes of a window are two calls.
    best = counted * (seconds / 2 if workers >= 2 * windows else seconds * math.ceil(windows / workers))
    done_windows = after["window_steps"] - before["window_steps"]
    cpu = after["cpu_seconds"] - before["cpu_seconds"]
    return {
        "workers": workers,
        "windows": windows,
        "window_seconds": seconds,
        "achieved_over_ceiling": best / measured,
        "ceiling": windows / (workers * math.ceil(windows / workers)),
        "coordinator_cpu_ms_per_window_step": 1e3 * cpu / done_windows,
        "idle_actor_ms": 1e3 * idle * measured / done_windows,
        "coordinator_bytes_per_step": (after["coordinator_bytes"] - before["coordinator_bytes"]) / counted,
        "between_workers_bytes_per_step": (after["between_bytes"] - before["between_bytes"]) / counted,
        "frames_per_boundary_each_way": (after["between_bytes"] - before["between_bytes"])
        / counted
        / FRAME_BYTES
        / 2
        / max(min(workers, windows) - 1, 1),
        **peer,
    }


def bare(workers: int, seconds: float, steps: int) -> dict[str, Any]:
    """The same with nothing but the calls."""
    arguments = seconds, LATENT, OVERLAP, WINDOW - 2 * OVERLAP
    create_bare: Any = ray.remote(num_cpus=0, runtime_env={"env_vars": RAY_SETTINGS})(BareCoordinator)
    handle = create_bare.remote(workers, _share(workers), *arguments)
    ray.get(handle.ready.remote())
    # The store is warm then, as for the other.
    for _ in range(2):
        measured, cpu = ray.get(handle.run.remote(steps))
    ray.kill(handle)
    return {
        "bare_achieved_over_ceiling": steps * seconds / measured,
        "bare_cpu_ms_per_window_step": 1e3 * cpu / (steps * workers),
    }


def mixed(workers: int, seconds: float, steps: int) -> dict[str, Any]:
    """A catalog of two long videos and many short ones: how much of the time the workers were at work."""
    handle, keep = pool_of(workers, functools.partial(SimulatedEngine, seconds, LATENT)), list[Any]()
    lengths = [3 * workers, *[1, 2, 1, 3] * workers, 2 * workers]
    jobs = [simulated_job(f"video-{number}", windows, steps) for number, windows in enumerate(lengths)]
    waiting, lock = list(jobs), threading.Lock()

    def take_part() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                job = waiting.pop(0)
            begin(handle, job, keep)
            for _ in follow(handle, job):
                pass
            ray.get(handle.finish.remote(job.name))

    start = time.monotonic()
    # As many at once as the catalog's job takes.
    threads = [threading.Thread(target=take_part) for _ in range(workers + max(1, workers // 2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    measured = time.monotonic() - start
    ray.kill(handle)
    return {
        "workers": workers,
        "videos": len(jobs),
        "window_seconds": seconds,
        "pool_use": sum(lengths) * steps * seconds / (workers * measured),
    }


def recovery(workers: int, windows: int, seconds: float, steps: int) -> dict[str, Any]:
    """What a killed worker costs, when another is ready soon: wall time in window-steps of one worker."""
    handle, keep = pool_of(workers, functools.partial(SimulatedEngine, seconds, LATENT)), list[Any]()
    took = {}
    for name in ("undisturbed", "killed"):
        job = simulated_job(name, windows, steps)
        begin(handle, job, keep)
        for done, moment in follow(handle, job):
            if done == 1:
                start = moment
            if name == "killed" and done == 3:
                time.sleep(seconds / 2)
                os.kill(min(ray.get(handle.figures.remote())["workers"].values()), signal.SIGKILL)
        took[name] = moment - start
        ray.get(handle.finish.remote(name))
    ray.kill(handle)
    lost = took["killed"] - took["undisturbed"]
    return {
        "workers": workers,
        "windows": windows,
        "undisturbed_s": took["undisturbed"],
        "killed_s": took["killed"],
        "lost_window_steps": lost / seconds,
    }


def real(steps: int) -> dict[str, Any]:
    """The embedded network: one plain loop, one worker, two workers; a video of 8 windows, denoising only."""
    import torch

    from cluster.client import animate
    from model.animator import Animator
    from model.embedded import SETTINGS
    from model.keypoints import PoseSequence
    from model.scene import compose
    from model.segments import SegmentEngine

    torch.set_num_threads(1)
    settings = SETTINGS.replace(steps=steps)
    frames = 8 * (settings.window - 1 - settings.overlap) + settings.overlap
    rng = np.random.default_rng(0)
    empty = PoseSequence.empty(frames, 64, 96)
    points = rng.uniform(8, 56, empty.keypoints.shape).astype(np.float32)
    poses = PoseSequence(points, empty.scores + 0.8, empty.boxes, empty.box_scores, empty.people, 64, 96)
    picture = rng.integers(0, 255, (96, 64, 3), dtype=np.uint8)
    scene = compose(picture, poses[:1], poses, settings)
    windows = len(settings.plans(frames)[0].windows)

    def denoising(events: Iterator[Any], marks: list[float]) -> float:
        """Seconds from the end of the first step to that of the last; then nothing more is asked for."""
        next(events)
        return marks[-1] - marks[0]

    def marking(marks: list[float]) -> Any:
        return lambda stage, done, total: marks.append(time.monotonic()) if stage == "step" and done >= 1 else None

    animator = Animator.load()
    load = functools.partial(SegmentEngine.load, 1, model="embedded")
    pools = {workers: pool_of(workers, load) for workers in (1, 2)}
    found: dict[str, Any] = {"windows": windows, "steps": steps}
    # In turns: what else goes on on the machine must not fall to one of them.
    turns = []
    for repeat in range(6):
        marks: list[float] = []
        taken = {"plain_s": denoising(animator.animate(scene, settings, marking(marks)), marks)}
        for workers, handle in pools.items():
            marks = []
            events = animate(handle, f"video-{repeat}", scene, settings, progress=marking(marks))
            taken[f"workers_{workers}_s"] = denoising(events, marks)
            del events
        turns.append(taken)
    for handle in pools.values():
        ray.kill(handle)
    for name in turns[0]:
        found[name] = min(turn[name] for turn in turns)
    # Of the best of each, one may have had the whole machine for a moment and another not: so the turns' median too.
    for name, over, under in (
        ("one_worker_over_plain", "workers_1_s", "plain_s"),
        ("two_workers_speed_up", "workers_1_s", "workers_2_s"),
    ):
        found[name] = found[over] / found[under]
        found[f"median_turn_{name}"] = statistics.median(turn[over] / turn[under] for turn in turns)
    found["of_ceiling"] = found["two_workers_speed_up"] * math.ceil(windows / 2) / windows
    return found


def memory(workers: int, frames: int, seconds: float = 0.02) -> dict[str, Any]:
    """Peak resident memory while a video of so many frames goes through the workers, shared memory left out."""
    handle, keep = pool_of(workers, functools.partial(SimulatedEngine, seconds, LATENT)), list[Any]()
    plans = step_plans("progressive", frames + 1, WINDOW, OVERLAP, 3)
    job = VideoJob("video", plans, ((1, frames + 1),), True, None, 5)
    figures = ray.get(handle.figures.remote())
    watched = {"driver": [os.getpid()], "coordinator": [figures["pid"]], "worker": list(figures["workers"].values())}
    peaks = dict.fromkeys(watched, 0)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            for name, pids in watched.items():
                for pid in pids:
                    info = psutil.Process(pid).memory_info()
                    peaks[name] = max(peaks[name], info.rss - info.shared)

    thread = threading.Thread(target=watch)
    thread.start()
    begin(handle, job, keep)
    for _ in follow(handle, job):
        pass
    over.set()
    thread.join()
    ray.kill(handle)
    shape = {"workers": workers, "frames": frames, "windows_a_worker": math.ceil(len(plans[0].windows) / workers)}
    return shape | {f"{name}_mib": peak / 2**20 for name, peak in peaks.items()}


def rows(section: str, quick: bool) -> Iterator[dict[str, Any]]:
    if section == "simulated":
        for workers, windows, seconds in (
            (1, 1, 0.583), (2, 1, 0.583), (8, 8, 0.583), (8, 8, 2.2), (8, 20, 0.583), (64, 64, 2.2), (64, 150, 2.2),
        ):  # fmt: skip
            if not quick or workers <= 8:
                yield simulated(workers, windows, seconds, 25 if windows <= 8 and seconds < 1 else 8)
    elif section == "mixed":
        yield mixed(8, 0.583, 8)
    elif section == "recovery":
        yield recovery(4, 8, 1.0, 8)
    elif section == "real":
        yield real(6)
    else:
        found = [memory(4, frames) for frames in ((100, 1000) if quick else (100, 1000, 10_000))]
        yield from found
        # As many windows a worker, however long the video: of shorter windows, the quicker would take more.
        shared = [memory(workers, workers * 4 * (WINDOW - 1 - OVERLAP) + OVERLAP, 0.3) for workers in (2, 16)]
        yield from shared
        grown = found[-1]["frames"] - found[0]["frames"]
        both = sum(found[-1][k] - found[0][k] for k in ("driver_mib", "coordinator_mib")) * 2**20 / grown
        yield {
            "driver_and_coordinator_of_a_frames_latents": both / FRAME_BYTES,
            "worker_of_a_fixed_share": shared[1]["worker_mib"] / shared[0]["worker_mib"],
        }


SECTIONS = ("real", "simulated", "mixed", "memory", "recovery")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=SECTIONS, help="one section instead of all")
    parser.add_argument("--quick", action="store_true", help="leave out what takes minutes: 64 workers, 10,000 frames")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args(arguments)
    start_ray()
    found: dict[str, list[dict[str, Any]]] = {}
    for section in [chosen.only] if chosen.only else SECTIONS:
        print(f"\n{section}", flush=True)
        found[section] = []
        for row in rows(section, chosen.quick):
            found[section].append(row)
            shown = {name: f"{value:.3f}" if isinstance(value, float) else value for name, value in row.items()}
            print(table(tuple(shown), [tuple(shown.values())]), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
