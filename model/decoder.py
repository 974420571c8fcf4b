"""Latents to frames, a chunk at a time: the decoder looks along time, so where chunks meet matters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from diffusers import AutoencoderKLTemporalDecoder


def chunks(frames: int, chunk: int, overlap: int) -> list[tuple[int, int]]:
    """(start, stop) of every chunk; neighbours share ``overlap`` frames. Overlap 0 cuts as the released code does.

    Raises ``ValueError`` unless 0 <= overlap < chunk and there is a frame.
    """
    if frames < 1:
        raise ValueError(f"frames is {frames}, expected at least 1")
    if not 0 <= overlap < chunk:
        raise ValueError(f"decode overlap is {overlap}, expected 0 to {chunk - 1} for chunks of {chunk}")
    starts = range(0, max(frames - overlap, 1), chunk - overlap)
    return [(start, min(start + chunk, frames)) for start in starts]


@torch.no_grad()
def decode(
    vae: AutoencoderKLTemporalDecoder, latents: torch.Tensor, chunk: int = 8, overlap: int = 0
) -> Iterator[torch.Tensor]:
    """(F, 4, h, w) latents to F frames (3, 8h, 8w) in about [-1, 1], one after another, in order, float32.

    Over the ``overlap`` frames that two chunks share, the later one comes in by j / (overlap + 1), j = 1..overlap: the
    decoder's frames near a chunk's border lack neighbours, and the border would show as a jump every ``chunk`` frames.
    No more than two chunks are held.
    """
    tail: torch.Tensor | None = None
    spans = chunks(len(latents), chunk, overlap)
    for number, (start, stop) in enumerate(spans):
        scaled = (latents[start:stop] / vae.config.scaling_factor).to(vae.device, vae.dtype)
        frames = vae.decode(scaled, num_frames=stop - start).sample.float()
        if tail is not None:
            ramp = torch.arange(1, len(tail) + 1, device=frames.device).view(-1, 1, 1, 1) / (len(tail) + 1)
            frames[: len(tail)] = frames[: len(tail)] * ramp + tail * (1 - ramp)
        following = spans[number + 1][0] if number + 1 < len(spans) else stop
        yield from frames[: following - start]
        tail = frames[following - start :] if following < stop else None


def to_uint8(frame: torch.Tensor, truncate: bool = False) -> np.ndarray:
    """A decoded frame (3, H, W) to (H, W, 3) uint8 RGB, rounded, or ``truncate``d as released."""
    levels = (frame / 2 + 0.5).clamp(0, 1) * 255
    levels = levels if truncate else levels.round()
    return levels.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
