"""Where randomness comes from: a function of the seed and of what it is for, never of the order of calls."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch


def generator(seed: int, purpose: str, index: int = 0) -> torch.Generator:
    """A generator of its own for (seed, purpose, index). On the CPU whatever the device, so devices agree."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=8).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest, "big") >> 1)


def frame_noise(seed: int, frames: Sequence[int], shape: tuple[int, int, int]) -> torch.Tensor:
    """Standard normal noise of these frames, (len(frames), *shape) float32, every frame its own.

    The released code repeats one window's noise along the video, and the picture then pulses with that period. Frame f
    is the same whatever the length of the video.
    """
    return torch.stack([torch.randn(shape, generator=generator(seed, "latents", f)) for f in frames])


def reference_noise(seed: int, shape: tuple[int, int, int]) -> torch.Tensor:
    """Standard normal noise for the reference image, ``shape`` = (3, H, W) float32."""
    return torch.randn(shape, generator=generator(seed, "reference"))


def released_noise(
    seed: int, window: int, image_shape: tuple[int, int, int], latent_shape: tuple[int, int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The released draw: from one generator, first the reference image's noise, then one window's latents.

    Returns (*image_shape) and (window, *latent_shape), both float32; frame f has the noise of frame f mod ``window``.
    """
    source = torch.Generator("cpu").manual_seed(seed)
    image = torch.randn((1, *image_shape), generator=source)[0]
    return image, torch.randn((1, window, *latent_shape), generator=source)[0]


def tile_noise(tile: torch.Tensor, frames: Sequence[int]) -> torch.Tensor:
    """One window's noise (T, C, h, w) repeated along the video: (len(frames), C, h, w) of these (as released)."""
    return tile[torch.as_tensor(frames, device=tile.device) % len(tile)]
