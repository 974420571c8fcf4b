"""What a training step keeps in memory, found by running its forward pass on tensors that have shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

_ENCODER_MAPS = 3
"""Feature maps of full size that are alive at once while the VAE encodes: a block's input, inside and output."""


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes on one worker, all in float32 but what is computed in another precision.

    ``weights`` of all networks; ``gradients``, ``moments`` (two, of AdamW) and ``average`` of what learns;
    ``activations`` kept for the backward pass; ``gathered``: a part of what is spread, whole while it is computed with;
    ``encoding``: of the pictures, before there are activations. ``gradients_stay``: they are there from the start.
    """

    weights: int
    gradients: int
    moments: int
    average: int
    activations: int
    gathered: int
    encoding: int
    gradients_stay: bool

    @property
    def peak(self) -> int:
        """What is there before a step, and the most of what comes and goes in it.

        An encoding is over before activations are kept; gradients take their place one by one, unless they stay.
        """
        before = self.weights + self.moments + self.average
        coming = max(self.activations + self.gathered, self.encoding)
        if self.gradients_stay:
            return before + self.gradients + coming
        return before + max(coming, self.gradients + self.gathered)


class Kept:
    """Counts what autograd keeps for the backward pass, each storage once, and none of ``weights``."""

    def __init__(self, weights: nn.Module) -> None:
        self.bytes = 0
        # The storages themselves: one that is gone would leave its identity to another.
        self._seen = {_identity(tensor): tensor.untyped_storage() for tensor in weights.parameters()}

    def take(self, tensor: torch.Tensor) -> torch.Tensor:
        """Count a tensor unless it has been."""
        if _identity(tensor) not in self._seen:
            self._seen[_identity(tensor)] = tensor.untyped_storage()
            self.bytes += tensor.untyped_storage().nbytes()
        return tensor

    def counting(self) -> Any:
        """A block in which everything that is kept is counted."""
        return torch.autograd.graph.saved_tensors_hooks(self.take, lambda tensor: tensor)


class Recomputed:
    """Stands in for checkpointing: of each part only the inputs are kept, and one part at a time is whole again."""

    def __init__(self, kept: Kept, weights: nn.Module) -> None:
        self.largest = 0
        self._kept, self._weights = kept, weights

    def __call__(self, module: nn.Module, *inputs: Any) -> Any:
        """Run a part as checkpointing would."""
        for tensor in inputs:
            if isinstance(tensor, torch.Tensor):
                self._kept.take(tensor)
        inside = Kept(self._weights)
        with inside.counting():
            output = module(*inputs)
        self.largest = max(self.largest, inside.bytes)
        return output


def activations(objective: nn.Module, forward: Callable[[], torch.Tensor]) -> int:
    """Bytes that ``forward``, the loss of some clips by ``objective``, keeps for its backward pass."""
    kept = Kept(objective)
    recomputed = Recomputed(kept, objective)
    unet: Any = getattr(objective, "unet", None)
    if unet is not None and unet.is_gradient_checkpointing:
        unet.enable_gradient_checkpointing(recomputed)
    with kept.counting():
        forward()
    return kept.bytes + recomputed.largest


def training_memory(
    objective: nn.Module,
    learned: Mapping[str, nn.Parameter],
    kept: int,
    encoded: tuple[int, ...],
    shards: int,
    gradients_stay: bool,
) -> TrainingMemory:
    """The whole, ``kept`` being what ``activations`` found.

    ``encoded`` is the shape (N, 3, H, W) of the pictures that a VAE which does not learn encodes at a time. What learns
    is spread over ``shards`` workers; of what is spread, one part at a time is whole, with its gradients.
    """
    learning = sum(parameter.numel() for parameter in learned.values())
    frozen = sum(parameter.numel() for parameter in objective.parameters()) - learning
    share = -(-learning // shards)
    vae: Any = objective.get_submodule("vae")
    pictures, _, height, width = encoded
    encoding = _ENCODER_MAPS * pictures * height * width * vae.config["block_out_channels"][0]
    whole = 2 * max(sum(p.numel() for p in part.parameters()) for part in _parts(objective)) if shards > 1 else 0
    return TrainingMemory(
        weights=4 * (frozen + share),
        gradients=4 * share,
        moments=8 * share,
        average=4 * share,
        activations=kept,
        gathered=4 * whole,
        encoding=4 * encoding,
        gradients_stay=gradients_stay,
    )


def _parts(objective: nn.Module) -> list[nn.Module]:
    """What is put together at a time where it is spread: of networks that learn the UNet's blocks, the VAE's halves and
    the others whole.
    """
    parts: list[nn.Module] = []
    for name, network in objective.named_children():
        found: Any = network
        if not any(parameter.requires_grad for parameter in network.parameters()):
            continue
        if name == "unet":
            parts.extend([*found.down_blocks, found.mid_block, *found.up_blocks])
        else:
            parts.extend(network.children() if name == "vae" else [network])
    return parts


def _identity(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
