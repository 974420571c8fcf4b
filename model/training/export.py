"""Networks written as the released ones are: an SVD folder and a MimicMotion checkpoint, in half precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from model.checkpoint import Networks
from model.posenet import PoseNet
from model.training.lora import merged_state
from model.unet import PoseUNet

CHECKPOINT = "mimicmotion.safetensors"


def export(networks: Networks, folder: Path) -> None:
    """Write everything that ``load_networks`` wants under ``folder``: ``CHECKPOINT`` there, the rest in SVD layout."""
    folder.mkdir(parents=True, exist_ok=True)
    _config(folder / "unet/config.json", _plain(networks.unet.config))
    export_vae(networks.vae, folder / "vae")
    _config(folder / "image_encoder/config.json", networks.image_encoder.config.to_diff_dict())
    _weights(networks.image_encoder, folder / "image_encoder/model.fp16.safetensors")
    scheduler = {
        "_class_name": "EulerDiscreteScheduler",
        "prediction_type": "v_prediction",
        "sigma_min": networks.sigma_min,
        "sigma_max": networks.sigma_max,
        "timestep_type": "continuous",
        "use_karras_sigmas": True,
    }
    _config(folder / "scheduler/scheduler_config.json", scheduler)
    save_checkpoint(networks.unet, networks.pose_net, folder / CHECKPOINT)


def save_checkpoint(unet: PoseUNet, pose_net: PoseNet, path: Path) -> None:
    """Write UNet and PoseNet as one safetensors file with the released names, in half precision as released."""
    tensors = {f"unet.{name}": tensor for name, tensor in merged_state(unet).items()}
    tensors |= {f"pose_net.{name}": tensor for name, tensor in merged_state(pose_net).items()}
    save_file({name: tensor.half().contiguous().cpu() for name, tensor in tensors.items()}, path)


def export_vae(vae: nn.Module, folder: Path) -> None:
    """Write a VAE and its configuration in diffusers layout."""
    _config(folder / "config.json", _plain(vae.config))
    _weights(vae, folder / "diffusion_pytorch_model.fp16.safetensors")


def _plain(config: Any) -> dict[str, Any]:
    return {name: value for name, value in dict(config).items() if name != "_name_or_path"}


def _config(path: Path, config: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config, indent=2, sort_keys=True, default=list) + "\n")


def _weights(network: nn.Module, path: Path) -> None:
    tensors = {
        name: tensor.detach().to("cpu", torch.float16).contiguous() for name, tensor in merged_state(network).items()
    }
    save_file(tensors, path)
