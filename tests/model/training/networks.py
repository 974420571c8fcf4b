"""A network of the released architecture that learns in seconds, and clips of its size."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKLTemporalDecoder
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from model.checkpoint import Networks
from model.posenet import PoseNet
from model.training.batches import TrainingClip
from model.unet import PoseUNet


def small_networks(seed: int = 0) -> Networks:
    """Four latent channels, pictures of multiples of 16, random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Networks(
            PoseUNet(
                block_out_channels=[32, 32],
                down_block_types=["CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"],
                up_block_types=["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"],
                layers_per_block=1,
                num_attention_heads=[2, 2],
                cross_attention_dim=16,
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=24,
            ),
            PoseNet(32),
            AutoencoderKLTemporalDecoder(
                block_out_channels=[32, 32],
                down_block_types=["DownEncoderBlock2D"] * 2,
                layers_per_block=1,
                scaling_factor=1.0,
            ),
            CLIPVisionModelWithProjection(
                CLIPVisionConfig(
                    hidden_size=16,
                    intermediate_size=16,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    image_size=28,
                    patch_size=14,
                    projection_dim=16,
                )
            ),
            0.002,
            80.0,
            "small",
        )


def random_clip(seed: int, frames: int = 3, side: int = 16) -> TrainingClip:
    """Noise, with the guidance of a VAE that halves once."""
    rng = np.random.default_rng(seed)
    return TrainingClip(
        rng.integers(0, 256, (frames, side, side, 3), np.uint8),
        rng.integers(0, 256, (frames, 4 * side, 4 * side, 3), np.uint8),
        np.ones((frames, side // 2, side // 2), np.float32),
    )
