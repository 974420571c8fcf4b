"""Where the weights are: an SVD folder in diffusers layout and a MimicMotion checkpoint, fetched but not yet read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.artifacts import ArtifactError, exists, fetch, join, sha256
from model.framing import LatentGrid


class CheckpointError(ValueError):
    """Weights that cannot be used, with the file and the tensors that do not fit."""


@dataclass(frozen=True)
class WeightFiles:
    """Where the parts lie, as local paths: fetched, not yet read."""

    unet_config: Path
    vae_config: Path
    vae: Path
    image_encoder_config: Path
    image_encoder: Path
    scheduler_config: Path
    checkpoint: Path

    def digest(self) -> str:
        """SHA-256 over the contents of all of them."""
        return hashlib.sha256(" ".join(sha256(path) for path in vars(self).values()).encode()).hexdigest()


def fetch_weights(base: str, checkpoint: str) -> WeightFiles:
    """The files of an SVD folder and of a checkpoint, by path or URI, brought here if they are elsewhere.

    Half-precision variants are taken before full ones, as released. Raises ``ArtifactError`` naming what is missing.
    """

    def weights(folder: str, stem: str) -> Path:
        names = [f"{stem}.fp16.safetensors", f"{stem}.safetensors"]
        for name in names:
            if exists(uri := join(join(base, folder), name)):
                return fetch(uri)
        raise ArtifactError(f"{join(base, folder)}: neither {names[0]} nor {names[1]} is there; is it an SVD folder?")

    return WeightFiles(
        unet_config=fetch(join(base, "unet/config.json")),
        vae_config=fetch(join(base, "vae/config.json")),
        vae=weights("vae", "diffusion_pytorch_model"),
        image_encoder_config=fetch(join(base, "image_encoder/config.json")),
        image_encoder=weights("image_encoder", "model"),
        scheduler_config=fetch(join(base, "scheduler/scheduler_config.json")),
        checkpoint=fetch(checkpoint),
    )


def latent_grid(base: str) -> LatentGrid:
    """How pictures lie in the latents of an SVD folder's networks. Only their configurations are read.

    Raises ``CheckpointError`` for those that say nothing of it, ``ArtifactError`` for those that are not there.
    """
    vae, unet = (read_config(fetch(join(base, f"{part}/config.json"))) for part in ("vae", "unet"))
    lists = [config.get("block_out_channels") for config in (vae, unet)]
    if not all(isinstance(found, list) and found for found in lists) or not isinstance(vae.get("latent_channels"), int):
        raise CheckpointError(
            f"{base}: block_out_channels of vae/config.json and unet/config.json are {lists[0]!r} and {lists[1]!r}, "
            f"latent_channels of the first is {vae.get('latent_channels')!r}; expected those of an SVD folder"
        )
    return LatentGrid.of(vae, unet)


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ``CheckpointError`` when the file is something else."""
    try:
        config = json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: not a JSON file ({error})") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: a JSON object was expected, found a {type(config).__name__}")
    return config
