"""MimicMotion's training objective: predict v for a noised clip, told the reference picture and the poses."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import nn
from transformers import CLIPVisionModelWithProjection

from model.conditioning import clip_pixels
from model.posenet import PoseNet
from model.settings import AnimationSettings
from model.training.batches import ClipBatch, Draws
from model.training.noising import network_input, noised, velocity
from model.unet import PoseUNet


class DenoisingObjective(nn.Module):
    """The four networks, and the loss of a batch. A module, so that DDP and FSDP can wrap it.

    The VAE does not learn (paper section 4.1). Which of the others do is the trainer's choice.
    """

    def __init__(
        self,
        unet: PoseUNet,
        pose_net: PoseNet,
        vae: AutoencoderKLTemporalDecoder,
        image_encoder: CLIPVisionModelWithProjection,
    ) -> None:
        super().__init__()
        self.unet, self.pose_net, self.image_encoder = unet, pose_net, image_encoder
        self.vae = vae.requires_grad_(False)

    def forward(self, batch: ClipBatch, draws: Draws) -> torch.Tensor:
        """Each clip's loss, (B,): the mean over its latents of weight times squared error of v.

        A dropped clip is told neither embedding, reference latent nor pose, all three at once: that is what the
        unconditional pass of guidance is told.
        """
        clean, reference = self._encoded(batch.frames, draws)
        return self.of_latents(clean, reference, batch, draws)

    def of_latents(self, clean: torch.Tensor, reference: torch.Tensor, batch: ClipBatch, draws: Draws) -> torch.Tensor:
        """The same once the frames are encoded: ``clean`` (B, F, C, h, w) scaled, ``reference`` (B, C, h, w) not."""
        told = ~draws.dropped
        embedding = self._embedding(batch.frames[:, 0]) * told.view(-1, 1, 1)
        reference = reference * told.view(-1, 1, 1, 1)
        frames = clean.shape[1]
        pose = self.pose_net(batch.guidance.flatten(0, 1)) * told.repeat_interleave(frames).view(-1, 1, 1, 1)

        inputs = network_input(noised(clean, draws.noise, draws.sigma), draws.sigma)
        sample = torch.cat([inputs, reference[:, None].expand(-1, frames, -1, -1, -1)], dim=2)
        time = 0.25 * draws.sigma.log()
        found = self.unet(sample, time, embedding, self._time_ids(draws), pose_features=pose, return_dict=False)[0]
        error = (found.float() - velocity(clean, draws.noise, draws.sigma)) ** 2
        return (batch.weights[:, :, None] * error).mean(dim=(1, 2, 3, 4))

    @torch.no_grad()
    def _encoded(self, frames: torch.Tensor, draws: Draws) -> tuple[torch.Tensor, torch.Tensor]:
        """Scaled latents of all frames, and the reference's own, unscaled and with its noise.

        In the VAE's own precision whatever the rest is computed in: SVD's encoder overflows in float16.
        """
        with torch.autocast(frames.device.type, enabled=False):
            return self._modes(frames, draws)

    def _modes(self, frames: torch.Tensor, draws: Draws) -> tuple[torch.Tensor, torch.Tensor]:
        modes = self.vae.encode(frames.flatten(0, 1)).latent_dist.mode()
        modes = modes.view(*frames.shape[:2], *modes.shape[1:])
        reference = modes[:, 0]
        noisy = draws.reference_strength > 0
        if bool(noisy.any()):
            pixels = frames[noisy, 0] + draws.reference_strength[noisy].view(-1, 1, 1, 1) * draws.reference_noise[noisy]
            reference = reference.clone()
            reference[noisy] = self.vae.encode(pixels).latent_dist.mode().to(reference.dtype)
        return modes * self.vae.config.scaling_factor, reference

    def _embedding(self, pictures: torch.Tensor) -> torch.Tensor:
        size = self.image_encoder.config.image_size
        # In the precision in which an animation's picture is made smaller.
        with torch.autocast(pictures.device.type, enabled=False):
            pixels = torch.cat([clip_pixels(picture, size) for picture in pictures])
        return self.image_encoder(pixels).image_embeds[:, None]

    def _time_ids(self, draws: Draws) -> torch.Tensor:
        known = AnimationSettings()
        ids = torch.tensor([known.model_fps - 1, known.motion_bucket_id], device=draws.sigma.device).float()
        return torch.cat([ids.expand(len(draws.sigma), 2), draws.reference_strength[:, None]], dim=1)
