"""The VAE's training objective: give back a clip, from latents that stay near a normal distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    # Whoever makes clips reads a constant here, and would take seconds to import it.
    from diffusers import AutoencoderKLTemporalDecoder

KL_WEIGHT = 0.018432
"""Of the divergence per number of a picture (3 x H x W), beside a mean error per number, so that neither outweighs the
other in larger pictures. It is what the VAE that ships learnt clips of 64x96 pixels with: 1e-6 of a picture's whole
divergence, 18,432 times Stable Diffusion's 1e-6 of it per number. Its crops of 32x32 pixels had a sixth of that.
"""


class AutoencodingObjective(nn.Module):
    """The VAE, and the loss of a batch. Clips are as long as those it will decode: the decoder looks along time.

    ``kl_weight`` is of the divergence, as ``KL_WEIGHT``.
    """

    def __init__(self, vae: AutoencoderKLTemporalDecoder, kl_weight: float = KL_WEIGHT) -> None:
        super().__init__()
        self.vae, self.kl_weight = vae, kl_weight

    def forward(self, frames: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Each clip's loss, (B,), of ``frames`` (B, F, 3, H, W) in [-1, 1]; ``noise`` (B, F, C, h, w) draws latents.

        The squared error of the pixels and a tenth of the absolute one, which sharpens edges that the squared one
        leaves soft; and of the divergence of the latents from a normal distribution, per number of the picture, a
        share.
        """
        clips, length = frames.shape[:2]
        posterior = self.vae.encode(frames.flatten(0, 1)).latent_dist
        latents = posterior.mean + posterior.std * noise.flatten(0, 1)
        error = self.vae.decode(latents, num_frames=length).sample.float() - frames.flatten(0, 1)
        divergence = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).sum(dim=1)
        weight = self.kl_weight / error[0].numel()
        per_frame = (error**2 + 0.1 * error.abs()).mean(dim=(1, 2, 3)) + weight * divergence.sum(dim=(1, 2))
        return per_frame.view(clips, length).mean(dim=1)


@torch.no_grad()
def latent_scale(vae: AutoencoderKLTemporalDecoder, frames: torch.Tensor) -> float:
    """What latents must be multiplied by to have unit deviation, from ``frames`` (N, 3, H, W) (SD: 0.18215)."""
    return float(1 / vae.encode(frames).latent_dist.mode().std())
