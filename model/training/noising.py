"""EDM's noising as SVD is trained: how much noise, and what the network should say (Karras et al. 2022, section 5).

The network sees x = z + sigma n, scaled by 1 / sqrt(sigma^2 + 1), and predicts v. With the weight (1 + sigma^2) /
sigma^2, which SVD gives its squared error of the clean latents, the loss is the plain squared error of v.
"""

from __future__ import annotations

import torch


def draw_sigmas(source: torch.Generator, count: int, mean: float, deviation: float) -> torch.Tensor:
    """Noise levels (count,) float32: exp of a normal distribution (Karras et al. 2022, table 1; SVD: 0.7 and 1.6)."""
    return torch.exp(mean + deviation * torch.randn(count, generator=source))


def noised(clean: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """``clean`` (B, ...) with noise of level ``sigma`` (B,)."""
    return clean + _beside(sigma, clean) * noise


def network_input(noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """What the network sees of ``noisy`` (B, ...): of unit variance at every level if the clean latents are."""
    return noisy / torch.sqrt(_beside(sigma, noisy) ** 2 + 1)


def velocity(clean: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """What the network should predict: v = (n - sigma z) / sqrt(sigma^2 + 1), the v that ``euler_step`` takes."""
    level = _beside(sigma, clean)
    return (noise - level * clean) / torch.sqrt(level**2 + 1)


def _beside(sigma: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return sigma.view(-1, *[1] * (values.ndim - 1))
