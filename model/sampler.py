"""Sampling, equation by equation: Karras noise levels, v-prediction, guidance, one Euler step.

Functions of tensors; the loop that calls them is ``denoiser.denoise``.
"""

from __future__ import annotations

import math

import torch


def karras_sigmas(
    steps: int, sigma_min: float = 0.002, sigma_max: float = 700.0, rho: float = 7.0, device: str = "cpu"
) -> torch.Tensor:
    """Noise levels, (steps + 1,) float32, falling from ``sigma_max`` to ``sigma_min`` and then 0.

    Karras et al. 2022, equation 5, with SVD's bounds. One step goes from ``sigma_max`` to 0. Raises ``ValueError`` for
    fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}, expected at least 1")
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    sigmas = (high + ramp * (low - high)) ** rho
    return torch.cat([sigmas, sigmas.new_zeros(1)]).to(device=device, dtype=torch.float32)


def timestep(sigma: float) -> float:
    """What the UNet is told of the noise level: ln(sigma) / 4 (SVD)."""
    return 0.25 * math.log(sigma)


def input_scale(sigma: float) -> float:
    """c_in = 1 / sqrt(sigma^2 + 1): gives the UNet an input of unit variance (Karras et al. 2022, table 1)."""
    return 1.0 / math.sqrt(sigma**2 + 1)


def initial_scale(sigma_max: float) -> float:
    """Deviation of the latents before the first step: sqrt(sigma_max^2 + 1) (as released)."""
    return math.sqrt(sigma_max**2 + 1)


def guidance_ramp(low: float, high: float, frames: int) -> torch.Tensor:
    """Guidance of every frame, (frames,) float32, rising evenly along the video, reference frame included."""
    return torch.linspace(low, high, frames)


def guide(unconditional: torch.Tensor, conditional: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Classifier-free guidance, (L, C, h, w) each; ``scale`` (L,) holds every frame's own."""
    return unconditional + scale.view(-1, 1, 1, 1) * (conditional - unconditional)
