"""One window through the network, and all windows through all steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from model.fusion import Fuser, FusionPlan
from model.sampler import euler_step, guide, input_scale, timestep
from model.unet import PoseUNet


@dataclass(frozen=True, eq=False)
class Condition:
    """What stays the same through all steps.

    ``image_embedding`` (1, 1, D), ``reference_latent`` (4, h, w), ``time_ids`` (1, 3), ``pose_features`` (F, C, h, w)
    and ``guidance`` (F,), all on the network's device, the tensors that enter it in its dtype.
    """

    image_embedding: torch.Tensor
    reference_latent: torch.Tensor
    time_ids: torch.Tensor
    pose_features: torch.Tensor
    guidance: torch.Tensor


def predict_window(
    unet: PoseUNet, latents: torch.Tensor, frames: Sequence[int], sigma: float, condition: Condition
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """The network's v-prediction for one window: (unconditional, conditional), each (L, 4, h, w).

    ``latents`` (L, 4, h, w) of the window's ``frames``. The unconditional pass sees neither embedding, reference nor
    pose (as released), and is skipped, ``None``, where no frame's guidance exceeds 1: released code crashes there.
    """
    index = torch.as_tensor(frames, device=latents.device)
    scaled = (latents * input_scale(sigma)).to(unet.dtype)
    reference = condition.reference_latent.expand_as(scaled)

    def run(image: torch.Tensor, embedding: torch.Tensor, pose: torch.Tensor | None) -> torch.Tensor:
        # The released code makes timesteps in the network's dtype, which costs 5e-4 in float16; float32 is free.
        time = torch.tensor([timestep(sigma)], dtype=torch.float32, device=latents.device)
        sample = torch.cat([scaled, image], dim=1)[None]
        return unet(sample, time, embedding, condition.time_ids, pose_features=pose, return_dict=False)[0][0]

    unconditional = None
    if bool((condition.guidance > 1).any()):
        unconditional = run(torch.zeros_like(reference), torch.zeros_like(condition.image_embedding), None)
    return unconditional, run(reference, condition.image_embedding, condition.pose_features[index])


def guided(
    unconditional: torch.Tensor | None, conditional: torch.Tensor, frames: Sequence[int], guidance: torch.Tensor
) -> torch.Tensor:
    """The window's prediction after guidance, (L, 4, h, w) in the guidance's dtype.

    Guidance is per frame and fusion a weighted sum per frame, so guiding each window before fusing equals the released
    order (fuse both passes, then guide) up to rounding.
    """
    if unconditional is None:
        return conditional.to(guidance.dtype)
    scale = guidance[torch.as_tensor(frames, device=guidance.device)]
    return guide(unconditional.to(guidance.dtype), conditional.to(guidance.dtype), scale)


Observer = Callable[[int, int, torch.Tensor | None, torch.Tensor], None]


@torch.no_grad()
def denoise(
    unet: PoseUNet,
    latents: torch.Tensor,
    sigmas: torch.Tensor,
    plan: FusionPlan,
    condition: Condition,
    *,
    on_step: Callable[[int, torch.Tensor], None] | None = None,
    on_window: Observer | None = None,
) -> torch.Tensor:
    """All windows through all steps, fused at each: (F, 4, h, w) noise to (F, 4, h, w) clean latents.

    Latents and sums keep the dtype of ``latents``, whatever the network's. ``on_step(step, latents)`` is called after
    every step, ``on_window(step, window, unconditional, conditional)`` after every window.
    """
    levels = sigmas.tolist()
    for step, (sigma, sigma_next) in enumerate(itertools.pairwise(levels)):
        fuser = Fuser(plan, latents, latents.dtype)
        for window, frames in enumerate(plan.windows):
            index = torch.as_tensor(frames, device=latents.device)
            unconditional, conditional = predict_window(unet, latents[index], frames, sigma, condition)
            if on_window is not None:
                on_window(step, window, unconditional, conditional)
            fuser.add(window, guided(unconditional, conditional, frames, condition.guidance))
        # The step itself is taken in float32: at sigma 700 half precision would lose it.
        latents = euler_step(latents.float(), fuser.result().float(), sigma, sigma_next).to(latents.dtype)
        if on_step is not None:
            on_step(step, latents)
    return latents
