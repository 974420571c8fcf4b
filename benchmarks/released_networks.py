"""Networks of the released sizes with drawn weights, in the released layout: for what is measured, not for pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from model.training.export import CHECKPOINT, export
from model.training.starting import drawn_networks

# The configurations of stable-video-diffusion-img2vid-xt-1-1.
UNET: dict[str, Any] = {
    "block_out_channels": [320, 640, 1280, 1280],
    "num_attention_heads": [5, 10, 20, 20],
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
    "in_channels": 8,
    "out_channels": 4,
    "num_frames": 25,
    "sample_size": 96,
}
VAE: dict[str, Any] = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "scaling_factor": 0.18215,
    "force_upcast": True,
}
IMAGE_ENCODER: dict[str, Any] = {
    "hidden_size": 1280,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "intermediate_size": 5120,
    "patch_size": 14,
    "projection_dim": 1024,
    "hidden_act": "gelu",
}
SCHEDULER = {"prediction_type": "v_prediction", "sigma_min": 0.002, "sigma_max": 700.0}


def write_released(folder: Path, device: str) -> tuple[str, str]:
    """Write them under ``folder`` (5 GB) unless they are there; the SVD folder and the checkpoint.

    Weights are drawn on ``device``; those of PoseNet's last projection too, or poses would reach nothing.
    """
    checkpoint = folder / CHECKPOINT
    if not checkpoint.exists():
        for part, config in (("unet", UNET), ("vae", VAE), ("image_encoder", IMAGE_ENCODER)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            (folder / part / "config.json").write_text(json.dumps(config))
        (folder / "scheduler").mkdir(exist_ok=True)
        (folder / "scheduler/scheduler_config.json").write_text(json.dumps(SCHEDULER))
        with torch.device(device):
            networks = drawn_networks(str(folder), None, seed=0)
            torch.nn.init.normal_(networks.pose_net.final_proj.weight, 0.0, 0.1)
        export(networks, folder)
    return str(folder), str(checkpoint)
