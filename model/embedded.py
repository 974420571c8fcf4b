"""The network inside the package, built."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLTemporalDecoder
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from model.checkpoint import Networks
from model.embedded_config import IMAGE_ENCODER, SEED, UNET, VAE, digest
from model.posenet import PoseNet
from model.settings import DTYPES
from model.unet import PoseUNet


def embedded_networks(device: str = "cpu", dtype: str = "float32") -> Networks:
    """Build the embedded networks. Raises ``ValueError`` for an unknown dtype."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        unet = PoseUNet(**UNET)
        pose_net = PoseNet(UNET["block_out_channels"][0])
        # A fresh PoseNet adds nothing; here the poses should be seen to reach the network.
        torch.nn.init.normal_(pose_net.final_proj.weight, 0.0, 0.1)
        vae = AutoencoderKLTemporalDecoder(**VAE)
        image_encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**IMAGE_ENCODER))
    return Networks(unet, pose_net, vae, image_encoder, 0.002, 700.0, digest()).to(device, DTYPES[dtype])
