"""The VAE's training objective: give back a clip, from latents that stay near a normal distribution."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import nn

KL_WEIGHT = 1e-6
"""Of the divergence per pixel, as for Stable Diffusion's VAE: latents are kept finite, hardly more."""


class AutoencodingObjective(nn.Module):
    """The VAE, and the loss of a batch. Clips are as long as those it will decode: the decoder looks along time."""

    def __init__(self, vae: AutoencoderKLTemporalDecoder) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, frames: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Each clip's loss, (B,), of ``frames`` (B, F, 3, H, W) in [-1, 1]; ``noise`` (B, F, C, h, w) draws latents.

        The squared error of the pixels and a tenth of the absolute one, which sharpens edges that the squared one
        leaves soft.
        """
        clips, length = frames.shape[:2]
        posterior = self.vae.encode(frames.flatten(0, 1)).latent_dist
        latents = posterior.mean + posterior.std * noise.flatten(0, 1)
        error = self.vae.decode(latents, num_frames=length).sample.float() - frames.flatten(0, 1)
        divergence = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).sum(dim=1)
        per_frame = (error**2 + 0.1 * error.abs()).mean(dim=(1, 2, 3)) + KL_WEIGHT * divergence.sum(dim=(1, 2))
        return per_frame.view(clips, length).mean(dim=1)


@torch.no_grad()
def latent_scale(vae: AutoencoderKLTemporalDecoder, frames: torch.Tensor) -> float:
    """What latents must be multiplied by to have unit deviation, from ``frames`` (N, 3, H, W) (SD: 0.18215)."""
    return float(1 / vae.encode(frames).latent_dist.mode().std())
