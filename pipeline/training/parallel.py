"""Workers that train together: what each holds of the networks, and how they agree.

Every worker takes its share of a step's clips; gradients are averaged. Without ``shard`` each holds all there is (DDP);
with it the networks that learn, their gradients, moments and averages are spread, and a block is whole only while it
is computed with (FSDP).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Workers:
    """This worker is number ``rank`` of ``world``. More than one need a process group."""

    rank: int = 0
    world: int = 1
    shard: bool = False

    def spread(self, objective: nn.Module, device: str) -> nn.Module:
        """What to compute losses by. What learns must have been chosen; its parameters are others afterwards."""
        if self.world == 1:
            return objective.to(device)
        if self.shard:
            _shard(objective, device, self.world)
            return objective.to(device)
        # In a VAE with one layer a block there is an attention that no pass comes to.
        some_unused = any(p.requires_grad for name, p in objective.named_parameters() if name.startswith("vae."))
        # Gradients in the buffers that are sent, or there would be each of them twice.
        return DistributedDataParallel(
            objective.to(device), gradient_as_bucket_view=True, find_unused_parameters=some_unused
        )

    def first_says(self, flag: bool) -> bool:
        """``flag`` of the first worker. All must ask."""
        if self.world == 1:
            return flag
        said = [flag]
        dist.broadcast_object_list(said)
        return said[0]

    def mean(self, value: float) -> float:
        """Of what each worker has. All must ask."""
        if self.world == 1:
            return value
        values = [value] * self.world
        dist.all_gather_object(values, value)
        return sum(values) / self.world

    def whole(self, values: Any) -> Any:
        """A tree of dicts and lists, spread tensors put together on the CPU; ``None`` in their place but on rank 0.

        All must ask.
        """
        if isinstance(values, dict):
            return {name: self.whole(value) for name, value in values.items()}
        if isinstance(values, list):
            return [self.whole(value) for value in values]
        if not isinstance(values, DTensor):
            return values
        full = values.full_tensor()
        return full.cpu() if self.rank == 0 else None


def spread_like(whole: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """This worker's share of a tensor that all have, spread as ``parameter`` is."""
    if not isinstance(parameter, DTensor):
        return whole
    on_device = whole.to(parameter.device)
    return distribute_tensor(on_device, parameter.device_mesh, parameter.placements, src_data_rank=None)


def _shard(objective: nn.Module, device: str, world: int) -> None:
    mesh = init_device_mesh(device, (world,))
    for name, network in objective.named_children():
        if not any(parameter.requires_grad for parameter in network.parameters()):
            continue
        if name == "unet":
            unet: Any = network
            for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
                fully_shard(block, mesh=mesh, reshard_after_forward=True)
        # A VAE is never called itself, only its encoder and decoder are.
        for part in network.children() if name == "vae" else (network,):
            # Else what was gathered for a validation would be trained on.
            fully_shard(part, mesh=mesh, reshard_after_forward=True)
