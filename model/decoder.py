"""Latents to frames, a chunk at a time: the decoder looks along time, so where chunks meet matters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from model.windows import chunks

if TYPE_CHECKING:
    from diffusers import AutoencoderKLTemporalDecoder


@torch.no_grad()
def decode_chunk(vae: AutoencoderKLTemporalDecoder, latents: torch.Tensor) -> torch.Tensor:
    """(L, 4, h, w) latents, decoded together, to (L, 3, 8h, 8w) in about [-1, 1], float32."""
    scaled = (latents / vae.config.scaling_factor).to(vae.device, vae.dtype)
    return vae.decode(scaled, num_frames=len(latents)).sample.float()


def decode(
    vae: AutoencoderKLTemporalDecoder, latents: torch.Tensor, chunk: int = 8, overlap: int = 0
) -> Iterator[torch.Tensor]:
    """(F, 4, h, w) latents to F frames (3, 8h, 8w) in about [-1, 1], one after another, in order, float32."""
    spans = chunks(len(latents), chunk, overlap)
    return join((list(decode_chunk(vae, latents[start:stop])) for start, stop in spans), spans)


def join(decoded: Iterable[Sequence[Any]], spans: Sequence[tuple[int, int]]) -> Iterator[Any]:
    """The frames of chunks (start, stop), one after another. Those in two chunks have to be tensors; others just pass.

    Over C shared frames, the later chunk comes in by j / (C + 1), j = 1..C: the decoder's frames near a chunk's border
    lack neighbours, and the border would show as a jump every chunk. No more than two chunks are held.
    """
    tail: Sequence[Any] = ()
    for number, frames in enumerate(decoded):
        start, stop = spans[number]
        following = spans[number + 1][0] if number + 1 < len(spans) else stop
        steps = len(tail) + 1
        mixed = [frames[j - 1] * (j / steps) + tail[j - 1] * (1 - j / steps) for j in range(1, steps)]
        whole = [*mixed, *frames[len(tail) :]]
        del frames
        yield from whole[: following - start]
        tail = whole[following - start :]


def to_uint8(frame: torch.Tensor, truncate: bool = False) -> np.ndarray:
    """A decoded frame (3, H, W) to (H, W, 3) uint8 RGB, rounded, or ``truncate``d as released."""
    levels = (frame / 2 + 0.5).clamp(0, 1) * 255
    levels = levels if truncate else levels.round()
    return levels.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
