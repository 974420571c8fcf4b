"""The reference picture as the network wants it: size, CLIP embedding, latent, time ids."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLTemporalDecoder
from transformers import CLIPVisionModelWithProjection

LATENT_FACTOR = 8
NETWORK_MULTIPLE = 64
"""The VAE halves three times and the UNet three more, without explicit sizes on the way up."""

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def parse_resolution(text: str) -> int | tuple[int, int]:
    """``"576"``, the short side of a 9:16 picture, or ``"432x768"``, width x height. Raises ``ValueError``."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() and 16 <= int(part) <= 4096 for part in parts):
        raise ValueError(f"resolution is {text!r}, expected SHORT_SIDE or WIDTHxHEIGHT, each 16 to 4096 pixels")
    numbers = [int(part) for part in parts]
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def picture_size(resolution: int | tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """(height, width) of the video for a reference of ``height`` x ``width`` pixels.

    A short side alone gives 9:16, long side snapped down to 64, upright only for an upright reference (as released: a
    square one lies down). A width and height are taken as they are.
    """
    if not isinstance(resolution, int):
        return resolution[1], resolution[0]
    long_side = max(int(resolution / (9 / 16) // NETWORK_MULTIPLE) * NETWORK_MULTIPLE, resolution)
    return (long_side, resolution) if height > width else (resolution, long_side)


@dataclass(frozen=True)
class CoverFit:
    """A picture scaled to (``scaled_height``, ``scaled_width``) and cropped at (``top``, ``left``)."""

    scaled_height: int
    scaled_width: int
    top: int
    left: int
    height: int
    width: int

    @staticmethod
    def of(height: int, width: int, target_height: int, target_width: int) -> CoverFit:
        """The smallest scaling of a ``height`` x ``width`` picture that covers the target, cropped at its centre.

        As released, rounding included.
        """
        if target_height / target_width < height / width:
            scaled = (math.ceil(target_width * height / width), target_width)
        else:
            scaled = (target_height, math.ceil(target_height * width / height))
        top = round((scaled[0] - target_height) / 2)
        left = round((scaled[1] - target_width) / 2)
        return CoverFit(*scaled, top, left, target_height, target_width)

    def image(self, image: np.ndarray, antialias: bool) -> np.ndarray:
        """(H, W, 3) uint8 scaled and cropped, bilinear; the released code does not antialias."""
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
        scaled = F.interpolate(
            pixels, (self.scaled_height, self.scaled_width), mode="bilinear", align_corners=False, antialias=antialias
        )
        levels = scaled.round().clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()
        return np.ascontiguousarray(levels[self.top : self.top + self.height, self.left : self.left + self.width])

    def points(self, points: np.ndarray, height: int, width: int) -> np.ndarray:
        """(..., 2) pixel coordinates of the ``height`` x ``width`` picture, carried along with it."""
        return points * self._scale(height, width) - np.array([self.left, self.top], np.float32)

    def points_back(self, points: np.ndarray, height: int, width: int) -> np.ndarray:
        """(..., 2) pixel coordinates of the fitted picture, back in the ``height`` x ``width`` one."""
        return (points + np.array([self.left, self.top], np.float32)) / self._scale(height, width)

    def _scale(self, height: int, width: int) -> np.ndarray:
        return np.array([self.scaled_width / width, self.scaled_height / height], np.float32)


def truncate_like_released(image: np.ndarray, half: bool) -> np.ndarray:
    """The released code's trip of a uint8 image to [-1, 1] and back, truncated: a level is lost on some values.

    ``half`` computes in float16, as the released default does.
    """
    levels = torch.arange(256, dtype=torch.uint8)
    # uint8 / 127.5 is computed in float32 and only then cast.
    signed = levels / 127.5 - 1
    table = ((signed.half() if half else signed) * 127.5 + 127.5).to(torch.uint8).numpy()
    return table[image]


def pad_to_network(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 continued by its own edge, right and below, to multiples of 64."""
    height, width = (-side % NETWORK_MULTIPLE for side in image.shape[:2])
    return np.pad(image, ((0, height), (0, width), (0, 0)), mode="edge")


def to_signed(image: np.ndarray) -> torch.Tensor:
    """(..., H, W, 3) uint8 to (..., 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image)).float().div(127.5).sub(1).movedim(-1, -3)


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
