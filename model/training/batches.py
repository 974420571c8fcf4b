"""What an objective sees of some clips, and what it draws at random for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from model.conditioning import to_signed
from model.noise import generator
from model.training.noising import draw_sigmas


@dataclass(frozen=True, eq=False)
class TrainingClip:
    """F frames of one person; frame 0 is the reference picture, with its own pose.

    ``frames`` (F, H, W, 3) uint8 RGB; ``guidance`` (F, 8h, 8w, 3) uint8, h x w being the size of the latents;
    ``weights`` (F, h, w) float32, of the loss.
    """

    frames: np.ndarray
    guidance: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """B clips: ``frames`` (B, F, 3, H, W) and ``guidance`` (B, F, 3, 8h, 8w) in [-1, 1], ``weights`` (B, F, h, w)."""

    frames: torch.Tensor
    guidance: torch.Tensor
    weights: torch.Tensor

    @staticmethod
    def of(clips: Sequence[TrainingClip], device: torch.device | str = "cpu") -> ClipBatch:
        """Clips of one shape, stacked."""
        return ClipBatch(
            to_signed(np.stack([clip.frames for clip in clips]), device),
            to_signed(np.stack([clip.guidance for clip in clips]), device),
            torch.from_numpy(np.stack([clip.weights for clip in clips])).to(device),
        )


@dataclass(frozen=True)
class NoiseSettings:
    """How noise is drawn. ``sigma`` is exp of a normal distribution with ``mean`` and ``deviation`` (SVD's).

    ``dropout`` is the share of clips told nothing; ``reference_noise`` the share whose reference picture is noised, as
    strongly as exp of a normal distribution with mean -3 and deviation 0.5 says (SVD's).
    """

    mean: float = 0.7
    deviation: float = 1.6
    dropout: float = 0.1
    reference_noise: float = 1.0


@dataclass(frozen=True, eq=False)
class Draws:
    """``sigma`` (B,), ``noise`` (B, F, C, h, w), ``dropped`` (B,) bool, ``reference_strength`` (B,) and
    ``reference_noise`` (B, 3, H, W).
    """

    sigma: torch.Tensor
    noise: torch.Tensor
    dropped: torch.Tensor
    reference_strength: torch.Tensor
    reference_noise: torch.Tensor


def draw(
    seed: int,
    indices: Sequence[int],
    latents: tuple[int, ...],
    picture: tuple[int, int],
    settings: NoiseSettings,
    device: torch.device | str = "cpu",
) -> Draws:
    """What is drawn for the clips with these ``indices`` in the run: the same for whoever trains on them.

    ``latents`` is (F, C, h, w), ``picture`` (H, W).
    """
    sigma, noise, dropped, strength, pixels = [], [], [], [], []
    for index in indices:
        source = generator(seed, "training", index)
        sigma.append(draw_sigmas(source, 1, settings.mean, settings.deviation))
        chances = torch.rand(2, generator=source)
        dropped.append(chances[0] < settings.dropout)
        noised = (chances[1] < settings.reference_noise).float()
        strength.append(noised * draw_sigmas(source, 1, -3.0, 0.5))
        noise.append(torch.randn(latents, generator=source))
        pixels.append(torch.randn((3, *picture), generator=source))
    return Draws(
        torch.cat(sigma).to(device),
        torch.stack(noise).to(device),
        torch.stack(dropped).to(device),
        torch.cat(strength).to(device),
        torch.stack(pixels).to(device),
    )
