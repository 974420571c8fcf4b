"""What the networks make of held-out clips while they learn: grids to look at."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from diffusers import AutoencoderKLTemporalDecoder
from PIL import Image

from model.checkpoint import Networks
from model.conditioning import image_embedding, reference_latent, time_ids, to_signed
from model.decoder import decode, to_uint8
from model.denoiser import Condition, denoise
from model.fusion import step_plans
from model.noise import frame_noise
from model.sampler import initial_scale, karras_sigmas
from model.settings import AnimationSettings
from model.training.batches import ClipBatch, TrainingClip

_STEPS = 12
_SHOWN_FRAMES = 8
_GAP = 2


@torch.no_grad()
def reconstructed(networks: Networks, clip: TrainingClip) -> np.ndarray:
    """A clip through the VAE and back, (F, H, W, 3) uint8."""
    vae = networks.vae
    # The other networks may be elsewhere: they take no part in its training.
    frames = ClipBatch.of([clip], vae.device).frames[0].to(vae.dtype)
    latents = vae.encode(frames).latent_dist.mode() * vae.config.scaling_factor
    return _levels(vae, latents, clip)


@torch.no_grad()
def animated(networks: Networks, clip: TrainingClip) -> np.ndarray:
    """A clip's driving frames as the networks make them from its reference and guidance, (F - 1, H, W, 3) uint8."""
    device, dtype = networks.device, networks.dtype
    frames = len(clip.frames)
    picture = to_signed(clip.frames[0], device)
    known = AnimationSettings()
    condition = Condition(
        image_embedding=image_embedding(networks.image_encoder, picture),
        reference_latent=reference_latent(networks.vae, picture, upcast=False),
        time_ids=time_ids(known.model_fps, known.motion_bucket_id, 0.0).to(device),
        pose_features=networks.pose_net(to_signed(clip.guidance, device).to(dtype)),
        guidance=torch.ones(frames, device=device),
        guided=False,
    )
    shape = (networks.grid.channels, *clip.weights.shape[1:])
    noise = frame_noise(0, range(frames), shape).to(device) * initial_scale(networks.sigma_max)
    sigmas = karras_sigmas(_STEPS, networks.sigma_min, networks.sigma_max)
    plans = step_plans("progressive", frames, frames, 0, _STEPS)
    latents = denoise(networks.unet, noise, sigmas, plans, condition.of)
    return _levels(networks.vae, latents[1:], clip)


def _levels(vae: AutoencoderKLTemporalDecoder, latents: torch.Tensor, clip: TrainingClip) -> np.ndarray:
    """Latents (F, C, h, w) of a clip as its pictures, (F, H, W, 3) uint8: black where they are not finite."""
    try:
        return np.stack([to_uint8(frame) for frame in decode(vae, latents)])
    except FloatingPointError:
        return np.zeros_like(clip.frames[: len(latents)])


def grid(rows: Sequence[Sequence[np.ndarray]]) -> bytes:
    """A PNG of pictures (H, W, 3) uint8 in rows, all of one size."""
    height, width = rows[0][0].shape[:2]
    columns = max(map(len, rows))
    page = np.full((len(rows) * (height + _GAP), columns * (width + _GAP), 3), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            top, left = y * (height + _GAP), x * (width + _GAP)
            page[top : top + height, left : left + width] = picture
    file = io.BytesIO()
    Image.fromarray(page).save(file, "PNG")
    return file.getvalue()


def sample_grid(networks: Networks, clips: Sequence[TrainingClip], autoencoding: bool) -> bytes:
    """Truth above what was made, clip by clip; an animation has its reference first and its guidance between."""
    rows: list[list[np.ndarray]] = []
    for clip in clips:
        frames = list(clip.frames[: _SHOWN_FRAMES + 1])
        if autoencoding:
            rows += [frames, list(reconstructed(networks, clip)[: _SHOWN_FRAMES + 1])]
            continue
        height, width = frames[0].shape[:2]
        drawn = [
            np.asarray(Image.fromarray(guidance).resize((width, height), Image.Resampling.BOX))
            for guidance in clip.guidance[: _SHOWN_FRAMES + 1]
        ]
        rows += [frames, drawn, [frames[0], *animated(networks, clip)[:_SHOWN_FRAMES]]]
    return grid(rows)
