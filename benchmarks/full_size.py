"""What networks of the released size take on a GPU, alone and through workers.

    python -m benchmarks.full_size [--only windows] [--json figures.json]

`windows`: seconds for a window and step, both passes, at 576x1024, in windows of 16 and of 72 frames, by precision and
attention, with the memory at its peak; first as released: float16, PyTorch's attention everywhere, PoseNet at every
step, latents between the steps in float16. `decoding`: frames a second. `workers`: a video of several windows through
one worker, and through two that share the GPU, beside the plain loop in one process: time, and the largest difference
between pixels. Weights are drawn: pictures show nothing, times are those of the released ones.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor2_0

from benchmarks.released_networks import write_released
from model.animator import Animator
from model.checkpoint import Networks
from model.conditioning import to_signed
from model.decoder import decode_chunk
from model.denoiser import predict_window
from model.pose_features import PoseFeatures
from model.scene import Scene, compose
from model.settings import AnimationSettings
from model.staged_scene import StagedScene
from model.unet import set_attention
from pipeline.figures.clip import figure_clip
from pipeline.report import table

HEIGHT, WIDTH = 1024, 576
TERAFLOP = {16: 102.4, 72: 460.8}
"""Of both passes over a window of so many frames, with cross-attention as released."""


def scene_of(frames: int, settings: AnimationSettings) -> Scene:
    """A drawn figure, and so many driving frames."""
    clip = figure_clip(2026, 7, frames, 384, 216)
    return compose(clip.frames[0], clip.detected[:1], clip.detected, settings)


def measured(work: Callable[[], torch.Tensor], repeats: int) -> dict[str, Any]:
    """The median of some calls' seconds, after two that do not count; memory at its peak; whether all is finite."""
    for _ in range(2):
        work()
    torch.cuda.reset_peak_memory_stats()
    taken = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        found = work()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return {
        "seconds": float(np.median(taken)),
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
        "finite": bool(found.isfinite().all()),
    }


@torch.no_grad()
def window(networks: Networks, frames: int, attention: str, repeats: int) -> dict[str, Any]:
    """One window and step; ``attention`` "as released" runs PoseNet as well, and folds nothing."""
    released = attention == "as released"
    if released:
        networks.unet.set_attn_processor(AttnProcessor2_0())
    else:
        set_attention(networks.unet, attention)
    settings = AnimationSettings(window=frames, style="released" if released else "default")
    scene = scene_of(frames - 1, settings)
    features = PoseFeatures(networks.pose_net, networks.device, networks.dtype, networks.grid)
    staged = StagedScene(networks, scene.picture, scene.pose_of, frames, settings, features, "scene")
    members = list(range(frames))
    latents, sigma = staged.noise(members), staged.sigmas[5].item()
    pixels = to_signed(np.stack(list(scene.guidance()))).to(networks.dtype)

    def work() -> torch.Tensor:
        if released:
            networks.pose_net(pixels.to(networks.device))
        return predict_window(networks.unet, latents, sigma, staged.condition(members))[1]

    found = measured(work, repeats)
    return {
        "window": frames,
        "dtype": str(networks.dtype).removeprefix("torch."),
        "attention": attention,
        "teraflop_s": TERAFLOP[frames] / found["seconds"],
        **found,
    }


@torch.no_grad()
def decoding(networks: Networks, chunk: int, repeats: int) -> dict[str, Any]:
    """A chunk of latents to frames."""
    vae = networks.vae
    latents = torch.randn(chunk, vae.config["latent_channels"], *networks.grid.shape(HEIGHT, WIDTH)[1:])
    latents = latents.to(networks.device)
    found = measured(lambda: decode_chunk(vae, latents), repeats)
    return {
        "chunk": chunk,
        "dtype": str(networks.dtype).removeprefix("torch."),
        "frames_s": chunk / found["seconds"],
        **found,
    }


def workers(svd: str, checkpoint: str, dtype: str, frames: int, windows: int, steps: int) -> Iterator[dict[str, Any]]:
    """One plain loop, one worker, two workers on the same GPU: seconds from the first step to the last, and pixels."""
    import ray

    from cluster.client import animate
    from cluster.coordinator import create
    from cluster.demand import WorkerDemand
    from model.segments import SegmentEngine

    settings = AnimationSettings(window=frames, overlap=6, steps=steps)
    scene = scene_of(windows * (frames - 1 - settings.overlap) + settings.overlap, settings)
    marks: list[float] = []

    def mark(stage: str, done: int, total: int) -> None:
        if stage == "step" and done >= 1:
            marks.append(time.monotonic())

    def made(name: str, events: Iterator[np.ndarray], beside: np.ndarray | None) -> tuple[dict[str, Any], np.ndarray]:
        pixels = np.stack(list(events))
        far = None if beside is None else int(np.abs(pixels.astype(int) - beside).max())
        seconds = marks[-1] - marks[0]
        marks.clear()
        return {"by": name, "windows": windows, "seconds": seconds, "largest_difference": far}, pixels

    animator = Animator.load(svd, checkpoint, "cuda", dtype)
    list(animator.animate(scene, settings.replace(steps=2)))
    row, plain = made("plain loop", animator.animate(scene, settings, mark), None)
    yield row
    del animator
    gc.collect()
    torch.cuda.empty_cache()
    ray.init(address="local", log_to_driver=False, logging_level=logging.ERROR)
    for count in (1, 2):
        load = functools.partial(
            SegmentEngine.load, 1, model=svd, checkpoint=checkpoint, device="cuda", dtype=dtype, attention="sdpa"
        )
        handle = create(load, WorkerDemand(count, 1.0, 1.0 / count, count))
        while len(ray.get(handle.figures.remote())["workers"]) < count:
            time.sleep(0.5)
        list(animate(handle, f"first-{count}", scene, settings.replace(steps=2)))
        row, _ = made(f"workers: {count}", animate(handle, f"video-{count}", scene, settings, progress=mark), plain)
        yield row
        ray.kill(handle)
        time.sleep(5)
    ray.shutdown()


def rows(section: str, svd: str, checkpoint: str, repeats: int) -> Iterator[dict[str, Any]]:
    """The rows of a section."""
    if section == "workers":
        yield from workers(svd, checkpoint, "float16", 16, 4, 5)
        return
    for dtype in ("float16", "bfloat16"):
        networks = Animator.load(svd, checkpoint, "cuda", dtype).networks
        if section == "decoding":
            yield decoding(networks, 8, repeats)
            continue
        for attention in ("as released", "sdpa", "xformers") if dtype == "float16" else ("sdpa",):
            for frames in (16, 72):
                yield window(networks, frames, attention, repeats)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/full-size"), help="where networks are written, 5 GB")
    parser.add_argument("--only", choices=("windows", "decoding", "workers"), help="one section alone")
    parser.add_argument("--repeats", type=int, default=5, help="calls that are timed")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("PyTorch sees no GPU here", file=sys.stderr)
        return 2
    svd, checkpoint = write_released(options.folder.resolve(), "cuda")
    print(torch.cuda.get_device_name(), "PyTorch", torch.__version__, flush=True)
    found: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
    for section in [options.only] if options.only else ["windows", "decoding", "workers"]:
        found[section] = []
        for row in rows(section, svd, checkpoint, options.repeats):
            found[section].append(row)
            print(section, json.dumps(row), file=sys.stderr, flush=True)
            gc.collect()
            torch.cuda.empty_cache()
        shown = [
            [f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()]
            for row in found[section]
        ]
        print(table(tuple(found[section][0]), shown), flush=True)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
