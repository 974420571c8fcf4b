"""Weights: an SVD folder in diffusers layout plus a MimicMotion checkpoint, loaded strictly.

The released checkpoint is one flat dict, ``unet.*`` and ``pose_net.*``, in half precision; the VAE, the image encoder
and all configurations come from the SVD folder. Every tensor must be there, none may be left over, and all must fit:
the released loader accepts anything and runs on random weights.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLTemporalDecoder
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from model.framing import LatentGrid
from model.posenet import PoseNet
from model.settings import DTYPES
from model.unet import PoseUNet
from model.weight_files import CheckpointError, WeightFiles, read_config


@dataclass(frozen=True, eq=False)
class Networks:
    """All that runs: on one device, in one dtype, in evaluation mode. ``digest`` identifies the weights."""

    unet: PoseUNet
    pose_net: PoseNet
    vae: AutoencoderKLTemporalDecoder
    image_encoder: CLIPVisionModelWithProjection
    sigma_min: float
    sigma_max: float
    digest: str

    @property
    def device(self) -> torch.device:
        # diffusers' own property walks all modules: three milliseconds, which a small network feels at every step.
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.unet.parameters()).dtype

    @property
    def grid(self) -> LatentGrid:
        """How pictures lie in latents."""
        return LatentGrid.of(self.vae.config, self.unet.config)

    def to(self, device: str, dtype: torch.dtype) -> Networks:
        """The same networks elsewhere, in another precision (moved in place)."""
        for network in (self.unet, self.pose_net, self.vae, self.image_encoder):
            # diffusers' own `to` warns, of a list of float32 modules that is empty here.
            nn.Module.to(network, device=device, dtype=dtype).eval().requires_grad_(False)
        return self


def load_networks(files: WeightFiles, device: str = "cpu", dtype: str = "float32") -> Networks:
    """Read the weights and put them on ``device`` in ``dtype`` (a key of ``DTYPES``).

    Raises ``CheckpointError`` when a file is not what it should be or a tensor is missing, surplus or misshapen, and
    ``ValueError`` for an unknown dtype.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
    unet = build_unet(read_config(files.unet_config))
    pose_net = build_pose_net(unet.config["block_out_channels"][0])
    vae = build_vae(read_config(files.vae_config))
    image_encoder = build_image_encoder(read_config(files.image_encoder_config))
    scheduler = read_config(files.scheduler_config)
    if scheduler.get("prediction_type") != "v_prediction":
        found = scheduler.get("prediction_type")
        raise CheckpointError(f"{files.scheduler_config}: prediction_type is {found!r}, expected 'v_prediction'")

    both = read_tensors(files.checkpoint)
    strangers = [name for name in both if not name.startswith(("unet.", "pose_net."))]
    if strangers:
        raise CheckpointError(
            f"{files.checkpoint}: not a MimicMotion checkpoint: surplus {_named(strangers)}; "
            "expected tensors under unet. and pose_net. only"
        )
    for prefix, network in (("unet.", unet), ("pose_net.", pose_net)):
        part = {name.removeprefix(prefix): tensor for name, tensor in both.items() if name.startswith(prefix)}
        load_strict(network, part, f"{files.checkpoint} ({prefix}*)")
    load_strict(vae, read_tensors(files.vae), str(files.vae))
    load_strict(image_encoder, read_tensors(files.image_encoder), str(files.image_encoder))

    networks = Networks(
        unet,
        pose_net,
        vae,
        image_encoder,
        sigma_min=float(scheduler.get("sigma_min") or 0.002),
        sigma_max=float(scheduler.get("sigma_max") or 700.0),
        digest=files.digest(),
    )
    return networks.to(device, getattr(torch, dtype))


def build_unet(config: dict[str, Any]) -> PoseUNet:
    """The UNet of a diffusers configuration, without memory for its weights."""
    return _on_meta(lambda: PoseUNet.from_config(config))


def build_pose_net(out_channels: int) -> PoseNet:
    """A PoseNet without memory for its weights."""
    return _on_meta(lambda: PoseNet(out_channels))


def build_vae(config: dict[str, Any]) -> AutoencoderKLTemporalDecoder:
    """The VAE of a diffusers configuration, without memory for its weights."""
    return _on_meta(lambda: AutoencoderKLTemporalDecoder.from_config(config))


def build_image_encoder(config: dict[str, Any]) -> CLIPVisionModelWithProjection:
    """The image encoder of a transformers configuration, without memory for its weights."""
    return _on_meta(lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**config)))


def _on_meta(build: Callable[[], Any]) -> Any:
    with torch.device("meta"):
        return build()


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """A flat dict of tensors from safetensors, or from a ``.pth`` read with ``weights_only``: no code is run.

    Raises ``CheckpointError`` when the file holds anything else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path):
            raise CheckpointError(
                f"{path}: refused, it holds more than tensors; have it saved as safetensors"
            ) from error
        raise CheckpointError(f"{path}: cannot be read as weights; it is no file that torch.save wrote") from error
    except Exception as error:  # a broken file makes PyTorch's readers raise whatever they run into
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path}: cannot be read as weights ({type(error).__name__}: {reason})") from error
    flat = isinstance(tensors, dict) and all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in tensors.items()
    )
    if not flat:
        raise CheckpointError(f"{path}: a flat dict of tensors was expected")
    return tensors


def load_strict(network: nn.Module, tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Put ``tensors`` into ``network`` (built on the meta device), or say which do not fit.

    Raises ``CheckpointError`` naming ``source`` and the tensors that are missing, surplus, misshapen or of whole
    numbers.
    """
    expected = network.state_dict()
    # An old transformers wrote this buffer, a plain arange, into every CLIP file.
    tensors = {name: t for name, t in tensors.items() if name in expected or not name.endswith(".position_ids")}
    faults = []
    if missing := [name for name in expected if name not in tensors]:
        faults.append(f"missing {_named(missing)}")
    if surplus := [name for name in tensors if name not in expected]:
        faults.append(f"surplus {_named(surplus)}")
    misshapen = [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if misshapen:
        faults.append(f"misshapen {_named(misshapen)}")
    whole = [
        f"{name} is {str(tensors[name].dtype).removeprefix('torch.')}"
        for name, tensor in expected.items()
        if name in tensors and tensor.is_floating_point() and not tensors[name].is_floating_point()
    ]
    if whole:
        faults.append(f"not of floating point: {_named(whole)}")
    if faults:
        raise CheckpointError(f"{source}: {'; '.join(faults)}")
    network.load_state_dict(tensors, assign=True)
    for name, buffer in network.named_buffers():
        if buffer.is_meta:
            # Not in any file: CLIP's position ids, an arange.
            owner, _, leaf = name.rpartition(".")
            network.get_submodule(owner).register_buffer(
                leaf, torch.arange(buffer.shape[-1]).expand(buffer.shape), persistent=False
            )


def _named(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
