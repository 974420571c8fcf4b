"""Which weights a run starts from, which of them learn, and how fast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import nn

Start = Literal["scratch", "svd", "released"]
Learned = Literal["pose_net", "unet", "temporal", "lora", "image_encoder", "vae", "vae_images"]


def choose_learned(objective: nn.Module, learned: Sequence[Learned]) -> dict[str, nn.Parameter]:
    """Make the weights of these parts learn and no others: their names in ``objective`` and what they are.

    ``temporal`` is what looks along time in the UNet: the temporal blocks and how much they count; ``lora`` is its
    adapters; ``vae_images`` is the VAE without what looks along time. Raises ``ValueError`` when nothing
    is left to learn.
    """
    found = {}
    for name, parameter in objective.named_parameters():
        part = name.split(".", 1)[0]
        learns = (
            part in learned
            or ("temporal" in learned and part == "unet" and _temporal(name))
            or ("lora" in learned and "lora_" in name)
            or ("vae_images" in learned and part == "vae" and not _temporal(name))
        )
        parameter.requires_grad_(learns)
        if learns:
            found[name] = parameter
    if not found:
        raise ValueError(f"learn is {', '.join(learned)}: this objective has no such part")
    return found


def _temporal(name: str) -> bool:
    return any(part in name for part in (".temporal_", ".time_mixer", ".time_pos_embed", ".time_conv_out"))


def rate(step: int, steps: int, warmup: int, schedule: Literal["constant", "cosine"]) -> float:
    """The share of the full learning rate at a ``step`` counted from 0: a line over the warm-up, then the schedule."""
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))
