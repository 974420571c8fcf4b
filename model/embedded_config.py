"""The network inside the package, described: what it is made of and what settings suit it.

Small, of the released architecture, for demos and tests on any machine. Its weights are random, drawn from a fixed
seed, so that every machine has the same. What it makes is noise; everything around it is real.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from model.settings import AnimationSettings

EMBEDDED = "embedded"
"""Its name, where a model is asked for."""

SEED = 20240628

SETTINGS = AnimationSettings(resolution="192x192", window=16, overlap=4, steps=4, decode_chunk=16, decode_overlap=2)
"""What suits so small a network: minutes, not hours, on two cores."""

UNET: dict[str, Any] = {
    "in_channels": 8,
    "out_channels": 4,
    "block_out_channels": [32, 32, 64, 64],
    "layers_per_block": 1,
    "num_attention_heads": [2, 2, 4, 4],
    "cross_attention_dim": 32,
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 96,
}
VAE: dict[str, Any] = {
    "block_out_channels": [32, 32, 32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "layers_per_block": 1,
    "latent_channels": 4,
    "scaling_factor": 0.18215,
}
IMAGE_ENCODER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 28,
    "projection_dim": 32,
}


PARAMETERS = 3_573_675
"""Of all its networks together; known here so that an estimate need not build them."""


def digest() -> str:
    """What identifies the embedded weights: their seed and the configurations."""
    return hashlib.sha256(json.dumps([SEED, UNET, VAE, IMAGE_ENCODER]).encode()).hexdigest()
