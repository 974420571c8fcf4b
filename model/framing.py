"""The reference picture at the size of the video: which size, how it is scaled, cropped and padded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from model.style import Style

POSE_FACTOR = 8
"""Guidance pixels to a latent pixel, along each side: PoseNet halves three times, whatever the VAE does."""

_RELEASED_MULTIPLE = 64


@dataclass(frozen=True)
class LatentGrid:
    """How pictures lie in latents: ``channels``, picture pixels to a latent pixel along each side (``factor``), and
    what both sides of a picture must be multiples of: neither network names sizes on its way up again. Defaults are
    those of the released networks.
    """

    channels: int = 4
    factor: int = 8
    multiple: int = _RELEASED_MULTIPLE

    @staticmethod
    def of(vae_config: Mapping[str, Any], unet_config: Mapping[str, Any]) -> LatentGrid:
        """The grid of a VAE and a UNet; every block of either but the last one halves."""
        vae, unet = len(vae_config["block_out_channels"]), len(unet_config["block_out_channels"])
        return LatentGrid(int(vae_config["latent_channels"]), 2 ** (vae - 1), 2 ** (vae + unet - 2))

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C, h, w) of a picture's latent, the picture continued to whole multiples."""
        rows, columns = (-(-side // self.multiple) * self.multiple // self.factor for side in (height, width))
        return self.channels, rows, columns

    @property
    def guidance_scale(self) -> float:
        """Guidance pixels to a picture pixel, along each side: 1 where the VAE halves as often as PoseNet."""
        return POSE_FACTOR / self.factor


RELEASED_GRID = LatentGrid()


def parse_resolution(text: str) -> int | tuple[int, int]:
    """``"576"``, the short side of a 9:16 picture, or ``"432x768"``, width x height. Raises ``ValueError``."""
    parts = text.lower().split("x") if isinstance(text, str) else []
    if len(parts) not in (1, 2) or not all(part.strip().isdecimal() and 16 <= int(part) <= 4096 for part in parts):
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
    long_side = max(int(resolution / (9 / 16) // _RELEASED_MULTIPLE) * _RELEASED_MULTIPLE, resolution)
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
        scaled = self._antialiased(image) if antialias else self._interpolated(image)
        levels = scaled[self.top : self.top + self.height, self.left : self.left + self.width]
        return np.ascontiguousarray(levels.round().clip(0, 255).astype(np.uint8))

    def _antialiased(self, image: np.ndarray) -> np.ndarray:
        size = (self.scaled_width, self.scaled_height)
        # Of floating point numbers, as Pillow rounds whole ones between the two directions.
        channels = (Image.fromarray(image[..., channel].astype(np.float32)) for channel in range(image.shape[2]))
        return np.stack([np.asarray(channel.resize(size, Image.Resampling.BILINEAR)) for channel in channels], axis=2)

    def _interpolated(self, image: np.ndarray) -> np.ndarray:
        # Not above: in the default style nobody needs it, and to import it takes two seconds of a core.
        import torch

        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
        size = (self.scaled_height, self.scaled_width)
        scaled = torch.nn.functional.interpolate(pixels, size, mode="bilinear", align_corners=False)
        return scaled[0].permute(1, 2, 0).numpy()

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
    import torch

    levels = torch.arange(256, dtype=torch.float16 if half else torch.float32)
    table = ((levels / 127.5 - 1 + 1) * 127.5).to(torch.uint8).numpy()
    return table[image]


def pad_to_multiple(image: np.ndarray, multiple: int, mode: Literal["edge", "constant"] = "edge") -> np.ndarray:
    """(H, W, 3) uint8 continued right and below to whole multiples: by its own edge, or in black (``constant``)."""
    height, width = (-side % multiple for side in image.shape[:2])
    return np.pad(image, ((0, height), (0, width), (0, 0)), mode=mode)


def fit_picture(
    reference: np.ndarray, resolution: str, style: Style = "default", half: bool = False
) -> tuple[np.ndarray, CoverFit]:
    """The reference (H, W, 3) uint8 at the size of the video, and how it got there.

    ``half`` matters in the released style alone, whose rounding depends on the precision.
    """
    height, width = reference.shape[:2]
    fit = CoverFit.of(height, width, *picture_size(parse_resolution(resolution), height, width))
    if style == "released":
        return truncate_like_released(fit.image(reference, antialias=False), half), fit
    return fit.image(reference, antialias=True), fit
