"""Latents to frames, a chunk at a time: the decoder looks along time, so where chunks meet matters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from model.decoded import join, to_levels
from model.windows import chunks

if TYPE_CHECKING:
    from diffusers import AutoencoderKLTemporalDecoder


@torch.no_grad()
def decode_chunk(vae: AutoencoderKLTemporalDecoder, latents: torch.Tensor) -> torch.Tensor:
    """(L, 4, h, w) latents, decoded together, to (L, 3, 8h, 8w) in about [-1, 1], float32.

    Raises ``FloatingPointError`` for what is not finite: it would be black.
    """
    scaled = (latents / vae.config.scaling_factor).to(vae.device, vae.dtype)
    frames = vae.decode(scaled, num_frames=len(latents)).sample.float()
    if not bool(frames.isfinite().all()):
        raise FloatingPointError(
            f"the networks made pixels that are not finite, in {str(vae.dtype).removeprefix('torch.')}; choose dtype "
            "bfloat16 or float32, and if it is the same in these, other weights"
        )
    return frames


def decode(
    vae: AutoencoderKLTemporalDecoder, latents: torch.Tensor, chunk: int = 8, overlap: int = 0
) -> Iterator[torch.Tensor]:
    """(F, 4, h, w) latents to F frames (3, 8h, 8w) in about [-1, 1], one after another, in order, float32."""
    spans = chunks(len(latents), chunk, overlap)
    return join((list(decode_chunk(vae, latents[start:stop])) for start, stop in spans), spans)


def to_uint8(frame: torch.Tensor, truncate: bool = False) -> np.ndarray:
    """A decoded frame (3, H, W) to (H, W, 3) uint8 RGB, as ``to_levels`` says."""
    return to_levels(frame, truncate).to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
