"""How fast poses are extracted, beside what would be possible, and what memory a long video takes.

    python -m benchmarks.pose_throughput [--json FILE]

The same clips of a dancer go through a plain loop (one frame after another, as the released code does it), through two
such loops side by side, the decoder alone, and the pipeline with one worker and with two. The limit is the time that
the networks alone took in the plain loop: no pipeline on that core can be faster. What a second loop brings is what
this machine has for a second worker, with nothing of Ray's beside them. A rate counts from when the first clip is taken
up to when the last is stored; that Ray starts and the networks are loaded is shown apart.

All that is compared takes turns, forwards in one round and backwards in the next, and the median of the rounds' ratios
counts: a machine that becomes slower or faster meanwhile does so for all alike. Where it does so from one turn to the
next, as shared ones do, it is more to the point what share of a worker's time its networks computed, in that very run:
that is shown too, and what of the cores' time the machine took for itself.

Memory is that of a worker and its decoders together, at its highest. For length the networks are toys of the same shape
(one person in every frame, ten milliseconds a frame); decoding, tracking, cuts, rows and files are the real ones.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import ffmpeg
import imageio_ffmpeg
import numpy as np
import psutil

from model.estimators import PoseEstimator
from model.estimators.selection import EstimatorChoice
from pipeline.extract import Outcome, run
from pipeline.extraction import Request, Sampling
from pipeline.footage import dancer_clip
from pipeline.ray_data import connect
from pipeline.report import table
from pipeline.video import probe_video, read_frames

ENOUGH, ENOUGH_WITH_TWO, FLAT = 0.90, 1.8, 1.15
"""Share of the limit on one core, gain of a second worker, growth of memory from the shortest to the longest video."""


LIMIT, DECODING = "limit: the networks alone", "decoding alone"
LOOP, LOOPS = "plain loop, one frame after another", "two plain loops side by side"
PIPELINES = {1: "pipeline, 1 worker", 2: "pipeline, 2 workers"}
ROWS = (LIMIT, LOOP, LOOPS, DECODING, *PIPELINES.values())


@dataclass(frozen=True)
class Rate:
    """What ``frames`` frames of ``videos`` videos took; ``computing`` by networks, in ``processes`` at once."""

    what: str
    frames: int
    videos: int
    seconds: float
    computing: float = 0.0
    processes: int = 1

    @property
    def fps(self) -> float:
        return self.frames / self.seconds

    @property
    def busy(self) -> float:
        """Share of a process's time in which its networks computed."""
        return self.computing / self.seconds / self.processes


class TimedNetwork:
    """A LiteRT interpreter that adds the seconds in which it computes to the (1,) ``total``.

    Of its thread, the only one that it has: what waits for a core, or for Python, is not the networks' time.
    """

    def __init__(self, interpreter: Any, total: np.ndarray) -> None:
        self._interpreter, self._total = interpreter, total

    def invoke(self) -> None:
        start = time.thread_time()
        self._interpreter.invoke()
        self._total += time.thread_time() - start

    def __getattr__(self, name: str) -> Any:
        return getattr(self._interpreter, name)


def timed(estimator: Any, total: np.ndarray) -> Any:
    for network in vars(estimator).values():
        if hasattr(network, "_interpreter"):
            network._interpreter = TimedNetwork(network._interpreter, total)
    return estimator


@dataclass(frozen=True)
class TimedChoice(EstimatorChoice):
    """The backend that the pipeline uses; each process notes in ``notes`` how long its networks computed."""

    notes: str = ""

    def load(self, device: str = "cpu", threads: int = 1) -> PoseEstimator:
        path = Path(self.notes) / str(os.getpid())
        estimator: PoseEstimator = timed(super().load(device, threads), np.memmap(path, np.float64, "w+", shape=1))
        return estimator


def cut_clips(folder: Path, count: int, seconds: float) -> list[Path]:
    """Clips of the dance, as long each, one after another; from its beginning again, cut elsewhere, where it ends."""
    clips, first = [], 2.0
    room = probe_video(dancer_clip()).duration_s - first - seconds
    for number in range(count):
        clips.append(folder / f"{number:02}.mp4")
        _encode(clips[-1], 496, ss=first + number * seconds % room, t=seconds)
    return clips


def _encode(target: Path, height: int, frames: int | None = None, **cut: float) -> None:
    source = ffmpeg.input(str(dancer_clip()), **cut)
    options: dict[str, Any] = {"vcodec": "libx264", "preset": "ultrafast", "pix_fmt": "yuv420p", "an": None}
    if frames is not None:
        options["frames:v"] = frames
    job = source.filter("scale", -2, height).output(str(target), **options)
    job.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True, overwrite_output=True)


@functools.cache
def timed_estimator() -> tuple[Any, np.ndarray]:
    """The estimator that the pipeline uses, with one thread, and its networks' time; loaded once in a process."""
    cv2.setNumThreads(1)
    total = np.zeros(1)
    return timed(EstimatorChoice("holistic").load(), total), total


def plain_loop(clips: Sequence[Path], fps: float) -> tuple[Rate, Rate]:
    """One frame after another in this process, and of that the networks alone."""
    estimator, total = timed_estimator()
    total[:], frames, start = 0, 0, time.perf_counter()
    for clip in clips:
        with read_frames(clip, fps) as reader:
            frames += sum(1 for _ in estimator.track(frame.pixels for frame in reader))
    seconds = time.perf_counter() - start
    loop = Rate(LOOP, frames, len(clips), seconds, float(total[0]))
    return loop, Rate(LIMIT, frames, len(clips), loop.computing, loop.computing)


def two_loops(processes: Executor, clips: Sequence[Path], fps: float) -> Rate:
    """Two plain loops at once, each with half of the clips, in processes that stay."""
    start = time.perf_counter()
    loops = [loop for loop, _ in processes.map(plain_loop, (clips[::2], clips[1::2]), (fps, fps))]
    seconds, computing = time.perf_counter() - start, sum(loop.computing for loop in loops)
    return Rate(LOOPS, sum(loop.frames for loop in loops), len(clips), seconds, computing, len(loops))


def decode_alone(clips: Sequence[Path], fps: float) -> Rate:
    frames, start = 0, time.perf_counter()
    for clip in clips:
        with read_frames(clip, fps) as reader:
            frames += sum(1 for _ in reader)
    return Rate(DECODING, frames, len(clips), time.perf_counter() - start)


def pipeline_rate(folder: Path, output: Path, fps: float, workers: int) -> tuple[Rate, float]:
    """The whole path, and the seconds before and after it."""
    start = time.time()
    with tempfile.TemporaryDirectory(prefix="mimicmotion-") as notes:
        choice = TimedChoice("holistic", None, 4, notes)
        outcome = _run(Request(str(folder), str(output), choice, Sampling(fps), workers=workers))
        computing = sum(float(np.fromfile(path)[0]) for path in Path(notes).iterdir())
    seconds = outcome.seconds
    rate = Rate(PIPELINES[workers], outcome.frames, len(outcome.done), seconds, computing, workers)
    return rate, time.time() - start - seconds


def taken_by_the_machine() -> float:
    """Seconds of all cores that went to the kernel's own threads, and to other machines on the same host, so far.

    As far as Linux tells: in most containers its threads are not seen.
    """
    seconds = float(getattr(psutil.cpu_times(), "steal", 0.0))
    with suppress(psutil.NoSuchProcess):
        # It starts all others.
        if (first := psutil.Process(2)).name() == "kthreadd":
            for thread in first.children():
                with suppress(psutil.NoSuchProcess):
                    seconds += sum(thread.cpu_times()[:2])
    return seconds


@dataclass(frozen=True)
class Rounds:
    """The rates of every round by what was measured; of each, the share of the cores that the machine took for itself;
    and the seconds around each run of the pipeline.
    """

    rates: list[dict[str, Rate]]
    taken: list[float]
    around: list[float]


def in_turns(folder: Path, clips: Sequence[Path], fps: float, rounds: int) -> Rounds:
    """Measure everything so often, in turns."""
    found, taken, around = list[dict[str, Rate]](), list[float](), list[float]()

    def pipeline(workers: int) -> list[Rate]:
        rate, seconds = pipeline_rate(clips[0].parent, folder / f"{len(found)}-{workers}", fps, workers)
        around.append(seconds)
        return [rate]

    with ProcessPoolExecutor(2, get_context("spawn")) as processes:
        two_loops(processes, clips[:2], fps)  # the processes load the networks
        turns: list[Callable[[], list[Rate]]] = [
            lambda: [*plain_loop(clips, fps), decode_alone(clips, fps)],
            lambda: pipeline(1),
            lambda: pipeline(2),
            lambda: [two_loops(processes, clips, fps)],
        ]
        for number in range(rounds):
            start, before = time.monotonic(), taken_by_the_machine()
            rates = {rate.what: rate for turn in turns[:: 1 if number % 2 == 0 else -1] for rate in turn()}
            found.append(rates)
            taken.append((taken_by_the_machine() - before) / (time.monotonic() - start) / (os.cpu_count() or 1))
            speeds = ", ".join(f"{rates[what].fps:.2f}" for what in ROWS)
            print(
                f"round {number + 1} of {rounds}, frames/s: {speeds}; taken by the machine: {taken[-1]:.1%}",
                file=sys.stderr, flush=True,
            )  # fmt: skip
    return Rounds(found, taken, around)


def _run(request: Request) -> Outcome:
    outcome = run(request)
    if outcome.failed:
        raise RuntimeError(f"{outcome.failed[0].id}: {outcome.failed[0].message}")
    return outcome


def peak_memory(folder: Path, networks: Path, frames: int) -> int:
    """Bytes of a worker and its decoders, at their highest, over a video of so many frames."""
    clip = folder / f"{frames}.mp4"
    _encode(clip, 240, frames, stream_loop=-1)
    choice = EstimatorChoice("dwpose", str(networks), 1)
    with _watched() as peak:
        outcome = _run(Request(str(clip), str(folder / f"out-{frames}"), choice, Sampling(None, 1), workers=1))
    assert outcome.frames == frames, f"{outcome.frames} of {frames} frames"
    return peak[0]


@contextmanager
def _watched() -> Iterator[list[int]]:
    peak, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            peak[0] = max(peak[0], sum(map(_memory, _workers())))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def _workers() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any("MapWorker(MapBatches(ExtractPoses)" in part for part in process.cmdline()):
                found += [process, *process.children(recursive=True)]
        except psutil.Error:
            continue
    return found


def _memory(process: psutil.Process) -> int:
    """What a process has of its own: libraries that all share are not counted in each."""
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0


def _gain_by_shares(rates: dict[str, Rate]) -> float:
    """What a second worker brings where networks are as fast beside another as alone: by the time left to them."""
    one, two = (rates[PIPELINES[workers]] for workers in (1, 2))
    return two.busy * two.processes / (one.busy * one.processes)


def _ratio(rounds: Sequence[dict[str, Rate]], what: str, of: str) -> float:
    return statistics.median(rates[what].fps / rates[of].fps for rates in rounds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit code whether it is good enough."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures here too")
    # Where two workers have few, it weighs that one ends before the other.
    parser.add_argument("--clips", type=int, default=36)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each clip")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fps", type=float, default=15.0)
    parser.add_argument("--lengths", type=int, nargs="*", default=[100, 1000, 10_000], help="frames, for memory")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.ERROR)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Of this machine, whatever cluster runs here: memory is that of this process's children.
    os.environ["RAY_ADDRESS"] = "local"
    connect()

    figures: dict[str, Any] = {"cpus": os.cpu_count()}
    passed = True
    with tempfile.TemporaryDirectory(prefix="mimicmotion-") as name:
        folder = Path(name)
        if options.clips:
            (folder / "clips").mkdir()
            clips = cut_clips(folder / "clips", options.clips, options.seconds)
            measured = in_turns(folder, clips, options.fps, options.rounds)
            rounds = measured.rates
            rows = []
            for what in ROWS:
                rates = [rates[what] for rates in rounds]
                fps = statistics.median(rate.fps for rate in rates)
                hourly = fps * rates[0].videos / rates[0].frames * 3600
                busy = f"{statistics.median(rate.busy for rate in rates):.3f}"
                rows.append((what, f"{fps:.2f}", f"{hourly:.0f}", f"{_ratio(rounds, what, LIMIT):.2f}", busy))
                figures[what] = {
                    "frames_s": [rate.fps for rate in rates],
                    "videos_h": hourly,
                    "networks_share": [rate.busy for rate in rates],
                }
            share, gain = _ratio(rounds, PIPELINES[1], LIMIT), _ratio(rounds, PIPELINES[2], PIPELINES[1])
            by_shares = statistics.median(map(_gain_by_shares, rounds))
            second_loop, of_loops = _ratio(rounds, LOOPS, LOOP), _ratio(rounds, PIPELINES[2], LOOPS)
            start_and_end = statistics.median(measured.around)
            figures |= {"share_of_limit": share, "gain_of_second_worker": gain, "start_and_end_s": start_and_end}
            figures |= {"taken_by_the_machine": measured.taken, "gain_by_networks_share": by_shares}
            figures |= {"gain_of_second_loop": second_loop, "two_workers_over_two_loops": of_loops}
            passed &= share >= ENOUGH and gain >= ENOUGH_WITH_TWO
            print(table(("what", "frames/s", "videos/h", "of the limit", "networks' share of a process"), rows))
            print(f"\nshare of the limit {share:.2f} (wanted {ENOUGH}), ", end="")
            print(f"two workers {gain:.2f} times one (wanted {ENOUGH_WITH_TWO})")
            print(f"by the share of their time in which networks computed, {by_shares:.2f} times one")
            print(f"two plain loops {second_loop:.2f} times one, two workers {of_loops:.2f} of two plain loops")
            print(f"the kernel's threads and the host took {statistics.median(measured.taken):.1%} of the cores' time")
            print(f"Ray Data, loading networks and packing tables took {start_and_end:.1f} s more")
        if options.lengths:
            from tests.jobs.toy_estimator import make_toy_dwpose

            networks = folder / "toy"
            networks.mkdir()
            make_toy_dwpose(networks)
            peaks = {}
            for frames in options.lengths:
                peaks[frames] = peak_memory(folder, networks, frames)
                print(f"{frames:>6} frames: {peaks[frames] / 2**20:.0f} MiB at most", flush=True)
            growth = peaks[options.lengths[-1]] / peaks[options.lengths[0]]
            print(f"\nthe longest takes {growth:.2f} times the shortest's (wanted at most {FLAT})")
            figures |= {"peak_memory_bytes": peaks, "growth": growth}
            passed &= growth <= FLAT
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
