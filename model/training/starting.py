"""What training starts from: an architecture with random weights, SVD's weights, or MimicMotion's."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKLTemporalDecoder
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from model.artifacts import ArtifactError, exists, fetch, join, sha256
from model.checkpoint import (
    Networks,
    build_image_encoder,
    build_pose_net,
    build_unet,
    build_vae,
    load_networks,
    load_strict,
    read_tensors,
)
from model.framing import LatentGrid
from model.posenet import PoseNet
from model.training.learning import Start
from model.unet import PoseUNet
from model.weight_files import CheckpointError, fetch_weights, read_config

_WEIGHTS = "diffusion_pytorch_model"

_NARROW = -8.0
"""Logarithm of a new VAE's posterior variance."""


def starting_networks(start: Start, model: str, checkpoint: str | None, vae: str | None, seed: int) -> Networks:
    """The networks before the first step, float32, on the CPU.

    ``model`` is an SVD folder, a path or URI; ``scratch`` reads its configurations only and draws weights with
    ``seed``, ``svd`` takes its weights and a PoseNet that adds nothing yet, ``released`` takes a MimicMotion
    ``checkpoint`` too. ``vae`` names another folder to take the VAE from. ``digest`` is of the contents of all files
    that were read, and the seed where it decides. Raises what ``load_networks`` raises.
    """
    read = []
    if checkpoint is not None:
        networks = load_networks(fetch_weights(model, checkpoint))
    else:
        networks = drawn_networks(model, None, seed)
        if start == "svd":
            read.append(_load(networks.unet, join(model, "unet"), _WEIGHTS))
            read.append(_load(networks.vae, join(model, "vae"), _WEIGHTS))
            read.append(_load(networks.image_encoder, join(model, "image_encoder"), "model"))
    if vae is not None:
        config = _Configurations.read(model, vae).vae
        other = build_vae(config)
        read += [_digest(config), _load(other, vae, _WEIGHTS)]
        networks = dataclasses.replace(networks, vae=other)
    return dataclasses.replace(networks, digest=_digest([networks.digest, *read])).to("cpu", torch.float32)


def check_start(start: Start, model: str, checkpoint: str | None, vae: str | None, picture: tuple[int, int]) -> None:
    """See that a run can start before anything is set up for it: configurations are read, no weights.

    ``picture`` is (height, width). Raises ``ValueError`` for a checkpoint that is missing or too many and for pictures
    that the networks cannot take, ``ArtifactError`` and ``CheckpointError`` for files that are not there, not what they
    should be, or of networks that do not fit together.
    """
    if (checkpoint is not None) != (start == "released"):
        raise ValueError(f"start is {start!r}, the checkpoint {checkpoint!r}: a checkpoint goes with 'released' alone")
    if checkpoint is not None and not exists(checkpoint):
        raise ArtifactError(f"{checkpoint}: no such file")
    configurations = _Configurations.read(model, vae)
    configurations.check(model, vae)
    multiple = LatentGrid.of(configurations.vae, configurations.unet).multiple
    for name, side in zip(("height", "width"), picture, strict=True):
        if side % multiple:
            raise ValueError(
                f"{name} is {side}, expected a multiple of {multiple}: the networks of {model} halve often"
            )


@dataclass(frozen=True)
class _Configurations:
    unet: dict[str, Any]
    vae: dict[str, Any]
    image_encoder: dict[str, Any]
    scheduler: dict[str, Any]

    @staticmethod
    def read(model: str, vae: str | None) -> _Configurations:
        places = ("unet/config.json", None, "image_encoder/config.json", "scheduler/scheduler_config.json")
        own = join(model, "vae/config.json") if vae is None else join(vae, "config.json")
        return _Configurations(*(read_config(fetch(own if name is None else join(model, name))) for name in places))

    def check(self, model: str, vae: str | None) -> None:
        """That they say what is asked of them, and that what one network gives is what another takes."""
        needed = {
            join(model, "unet/config.json"): (self.unet, ("addition_time_embed_dim", "block_out_channels")),
            join(vae or join(model, "vae"), "config.json"): (self.vae, ("latent_channels", "block_out_channels")),
            join(model, "image_encoder/config.json"): (self.image_encoder, ("projection_dim",)),
        }
        for path, (config, names) in needed.items():
            if missing := [name for name in names if name not in config]:
                raise CheckpointError(f"{path}: without {', '.join(missing)}; is it the configuration of SVD's kind?")
        latent = self.vae["latent_channels"]
        expected = {
            "in_channels": (2 * latent, "a noisy latent and the reference's, of the VAE's channels each"),
            "out_channels": (latent, "the VAE's latent channels"),
            "cross_attention_dim": (self.image_encoder["projection_dim"], "the image encoder's projection_dim"),
            "projection_class_embeddings_input_dim": (
                3 * self.unet["addition_time_embed_dim"],
                "three embeddings of addition_time_embed_dim",
            ),
        }
        for name, (value, meaning) in expected.items():
            if self.unet.get(name) != value:
                raise CheckpointError(
                    f"{join(model, 'unet/config.json')}: {name} is {self.unet.get(name)}, expected {value}: {meaning}"
                )


def drawn_networks(model: str, vae: str | None, seed: int) -> Networks:
    """Networks of the configurations in an SVD folder, the VAE's from a folder of its own if there is one, with weights
    drawn with ``seed``.
    """
    found = _Configurations.read(model, vae)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        autoencoder = AutoencoderKLTemporalDecoder.from_config(found.vae)
        _begin_with_images(autoencoder)
        return Networks(
            PoseUNet.from_config(found.unet),
            PoseNet(found.unet["block_out_channels"][0]),
            autoencoder,
            CLIPVisionModelWithProjection(CLIPVisionConfig(**found.image_encoder)),
            sigma_min=float(found.scheduler.get("sigma_min") or 0.002),
            sigma_max=float(found.scheduler.get("sigma_max") or 700.0),
            digest=_digest([vars(found), seed]),
        )


def empty_networks(model: str, vae: str | None) -> Networks:
    """The same networks on the meta device, without memory for their weights."""
    found = _Configurations.read(model, vae)
    unet = build_unet(found.unet)
    return Networks(
        unet,
        build_pose_net(unet.config["block_out_channels"][0]),
        build_vae(found.vae),
        build_image_encoder(found.image_encoder),
        sigma_min=0.002,
        sigma_max=700.0,
        digest="empty",
    )


@torch.no_grad()
def _begin_with_images(vae: AutoencoderKLTemporalDecoder) -> None:
    """Make a new VAE decode every frame on its own, and let pictures through rather than noise.

    Its temporal blocks add nothing yet and its last convolution mixes no frames, as SVD's did when it began as an image
    model; a fresh posterior is as wide as the prior, which would hide what is learnt at first.
    """
    assert vae.quant_conv.bias is not None
    vae.quant_conv.bias[vae.config["latent_channels"] :] = _NARROW
    last = vae.decoder.time_conv_out
    last.weight.zero_()
    last.bias.zero_()
    for channel in range(last.out_channels):
        last.weight[channel, channel, last.kernel_size[0] // 2] = 1
    for name, module in vae.decoder.named_modules():
        if name.endswith(".temporal_res_block"):
            module.conv2.weight.zero_()
            module.conv2.bias.zero_()


def _load(network: torch.nn.Module, folder: str, stem: str) -> str:
    """Give a network the weights in a folder; the SHA-256 of their file."""
    names = [f"{stem}.safetensors", f"{stem}.fp16.safetensors"]
    for name in names:
        if exists(uri := join(folder, name)):
            path = fetch(uri)
            load_strict(network, read_tensors(path), uri)
            return sha256(path)
    raise CheckpointError(f"{folder}: neither {names[0]} nor {names[1]} is there, which training starts from")


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
