"""A small network of the released architecture with random weights, for tests that look at what is around it."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKLTemporalDecoder
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from model.checkpoint import Networks
from model.posenet import PoseNet
from model.unet import PoseUNet

_UNET: dict[str, Any] = {
    "in_channels": 8,
    "out_channels": 4,
    "block_out_channels": [32, 32, 64, 64],
    "layers_per_block": 1,
    "num_attention_heads": [2, 2, 4, 4],
    "cross_attention_dim": 32,
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 96,
}
_VAE: dict[str, Any] = {
    "block_out_channels": [32, 32, 32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "layers_per_block": 1,
    "latent_channels": 4,
    "scaling_factor": 0.18215,
}
_IMAGE_ENCODER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 28,
    "projection_dim": 32,
}


def small_networks(dtype: str = "float32") -> Networks:
    """The same weights every time. The poses reach the network, which those of a fresh PoseNet do not."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20240628)
        unet = PoseUNet(**_UNET)
        pose_net = PoseNet(_UNET["block_out_channels"][0])
        torch.nn.init.normal_(pose_net.final_proj.weight, 0.0, 0.1)
        vae = AutoencoderKLTemporalDecoder(**_VAE)
        image_encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**_IMAGE_ENCODER))
    return Networks(unet, pose_net, vae, image_encoder, 0.002, 700.0, "small").to("cpu", getattr(torch, dtype))
