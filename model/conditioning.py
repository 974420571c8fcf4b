"""The reference picture as the network wants it: CLIP embedding, latent, time ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from diffusers import AutoencoderKLTemporalDecoder
    from transformers import CLIPVisionModelWithProjection

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def to_signed(image: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """(..., H, W, 3) uint8 to (..., 3, H, W) float32 in [-1, 1] on ``device``, to which bytes travel."""
    return torch.from_numpy(np.ascontiguousarray(image)).to(device).float().div(127.5).sub(1).movedim(-1, -3)


def clip_pixels(image: torch.Tensor, size: int = 224) -> torch.Tensor:
    """(3, H, W) in [-1, 1] to CLIP's (1, 3, size, size), the way SVD was trained to see it.

    A Gaussian of deviation (scale - 1) / 2 before a bicubic resize with aligned corners; the aspect is not kept.
    """
    blurred = _gaussian_blur(image[None], size)
    resized = F.interpolate(blurred, (size, size), mode="bicubic", align_corners=True)
    mean = torch.tensor(CLIP_MEAN, device=image.device).view(1, 3, 1, 1)
    std = torch.tensor(CLIP_STD, device=image.device).view(1, 3, 1, 1)
    return ((resized + 1) / 2 - mean) / std


def _gaussian_blur(image: torch.Tensor, size: int) -> torch.Tensor:
    for axis in (2, 3):
        deviation = max((image.shape[axis] / size - 1) / 2, 0.001)
        length = int(max(4 * deviation, 3))
        length += length % 2 == 0
        offsets = torch.arange(length, dtype=torch.float32, device=image.device) - length // 2
        kernel = torch.exp(-(offsets**2) / (2 * deviation**2))
        kernel = (kernel / kernel.sum()).view(1, 1, *((length, 1) if axis == 2 else (1, length)))
        half = length // 2
        padding = (0, 0, half, half) if axis == 2 else (half, half, 0, 0)
        padded = F.pad(image, padding, mode="reflect")
        image = F.conv2d(padded, kernel.expand(image.shape[1], -1, -1, -1), groups=image.shape[1])
    return image


def image_embedding(encoder: CLIPVisionModelWithProjection, image: torch.Tensor) -> torch.Tensor:
    """(3, H, W) in [-1, 1] to one token, (1, 1, D), in the encoder's dtype."""
    pixels = clip_pixels(image, encoder.config.image_size).to(encoder.device, encoder.dtype)
    return encoder(pixels).image_embeds[:, None]


def reference_latent(vae: AutoencoderKLTemporalDecoder, image: torch.Tensor, upcast: bool) -> torch.Tensor:
    """(3, H, W) in [-1, 1] to its latent's mode, (4, H/8, W/8), not scaled (SVD conditions on it so).

    ``upcast`` encodes in float32 whatever the VAE's dtype: its encoder overflows in float16 (``force_upcast`` in its
    config, which the released code ignores).
    """
    dtype = vae.dtype
    if upcast:
        vae.encoder.float()
        vae.quant_conv.float()
    try:
        pixels = image[None].to(vae.device, torch.float32 if upcast else dtype)
        return vae.encode(pixels).latent_dist.mode()[0]
    finally:
        if upcast:
            vae.encoder.to(dtype)
            vae.quant_conv.to(dtype)


def time_ids(fps: int, motion_bucket_id: int, noise_aug_strength: float) -> torch.Tensor:
    """SVD's three extra conditions, (1, 3) float32; it was trained with fps - 1."""
    return torch.tensor([[fps - 1, motion_bucket_id, noise_aug_strength]], dtype=torch.float32)
