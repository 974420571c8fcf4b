"""LoRA (Hu et al. 2021) in the UNet's attention: small matrices learn for the weights, and are merged when saved."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributed.tensor import DTensor

_PROJECTIONS = r".*\.(attn1\.(to_q|to_k|to_v|to_out\.0)|attn2\.(to_v|to_out\.0))"
"""Cross-attention sees one token: its softmax is 1 whatever queries and keys are, so these would learn nothing."""

_BASE = ".base_layer."


def add_lora(unet: nn.Module, rank: int, seed: int) -> None:
    """Put adapters of ``rank`` on the attention projections of ``unet``, which does what it did until they have learnt.

    Their first matrices are drawn with ``seed``. They count as they are (alpha = rank).
    """
    # Here, since it takes seconds and whoever loads a checkpoint imports this file.
    from peft import LoraConfig, inject_adapter_in_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=_PROJECTIONS), unet)


@torch.no_grad()
def merged_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """The state under the network's own names, adapters merged in: W + B A. The network stays as it is.

    Right for a network without adapters too. Of a network spread over workers the tensors are whole, and every worker
    must ask.
    """
    state = {name: _whole(tensor) for name, tensor in network.state_dict().items()}
    merged = {}
    for name, tensor in state.items():
        if ".lora_" in name:
            continue
        first, second = (f"{name.removesuffix(f'{_BASE}weight')}.lora_{part}.default.weight" for part in "AB")
        merged[name.replace(_BASE, ".")] = tensor + state[second] @ state[first] if first in state else tensor
    return merged


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
