"""One window through the network, and all windows through all steps."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from model.euler import euler_step
from model.fuser import Fuser
from model.fusion import FusionPlan
from model.sampler import guide, input_scale, timestep

if TYPE_CHECKING:
    from model.unet import PoseUNet


@dataclass(frozen=True, eq=False)
class Condition:
    """What some frames are told, the same through all steps.

    ``image_embedding`` (1, 1, D), ``reference_latent`` (4, h, w), ``time_ids`` (1, 3), ``pose_features`` (L, C, h, w)
    and ``guidance`` (L,), all on the network's device, the tensors that enter it in its dtype. ``guided`` says whether
    guidance exceeds 1 anywhere in the video: where it does not, there is no unconditional pass (released code crashes).
    """

    image_embedding: torch.Tensor
    reference_latent: torch.Tensor
    time_ids: torch.Tensor
    pose_features: torch.Tensor
    guidance: torch.Tensor
    guided: bool

    def of(self, frames: Sequence[int]) -> Condition:
        """What the frames at these positions are told."""
        index = torch.as_tensor(frames, device=self.guidance.device)
        return dataclasses.replace(self, pose_features=self.pose_features[index], guidance=self.guidance[index])


def unconditional_pass(unet: PoseUNet, latents: torch.Tensor, sigma: float, condition: Condition) -> torch.Tensor:
    """The network's v-prediction, (L, 4, h, w), told neither embedding, reference nor pose (as released)."""
    image = torch.zeros_like(condition.reference_latent)
    return _run(unet, latents, sigma, condition, image, torch.zeros_like(condition.image_embedding), None)


def conditional_pass(unet: PoseUNet, latents: torch.Tensor, sigma: float, condition: Condition) -> torch.Tensor:
    """The network's v-prediction, (L, 4, h, w), told everything."""
    image, pose = condition.reference_latent, condition.pose_features
    return _run(unet, latents, sigma, condition, image, condition.image_embedding, pose)


def _run(
    unet: PoseUNet,
    latents: torch.Tensor,
    sigma: float,
    condition: Condition,
    image: torch.Tensor,
    embedding: torch.Tensor,
    pose: torch.Tensor | None,
) -> torch.Tensor:
    # The released code makes timesteps in the network's dtype, which costs 5e-4 in float16; float32 is free.
    time = torch.tensor([timestep(sigma)], dtype=torch.float32, device=latents.device)
    scaled = (latents * input_scale(sigma)).to(image.dtype)
    sample = torch.cat([scaled, image.expand_as(scaled)], dim=1)[None]
    return unet(sample, time, embedding, condition.time_ids, pose_features=pose, return_dict=False)[0][0]


def predict_window(
    unet: PoseUNet, latents: torch.Tensor, sigma: float, condition: Condition
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Both passes over one window's ``latents`` (L, 4, h, w): (unconditional or ``None``, conditional)."""
    unconditional = unconditional_pass(unet, latents, sigma, condition) if condition.guided else None
    return unconditional, conditional_pass(unet, latents, sigma, condition)


def guided(unconditional: torch.Tensor | None, conditional: torch.Tensor, guidance: torch.Tensor) -> torch.Tensor:
    """The window's prediction after guidance, (L, 4, h, w) in the dtype of ``guidance`` (L,).

    Guidance is per frame and fusion a weighted sum per frame, so guiding each window before fusing equals the released
    order (fuse both passes, then guide) up to rounding.
    """
    if unconditional is None:
        return conditional.to(guidance.dtype)
    return guide(unconditional.to(guidance.dtype), conditional.to(guidance.dtype), guidance)


Observer = Callable[[int, int, torch.Tensor | None, torch.Tensor], None]


@torch.no_grad()
def denoise(
    unet: PoseUNet,
    latents: torch.Tensor,
    sigmas: torch.Tensor,
    plans: Sequence[FusionPlan],
    condition: Callable[[Sequence[int]], Condition],
    *,
    on_step: Callable[[int, torch.Tensor], None] | None = None,
    on_window: Observer | None = None,
) -> torch.Tensor:
    """All windows through all steps, fused at each: (F, 4, h, w) noise to (F, 4, h, w) clean latents.

    ``plans`` has the windows of every step, ``condition(frames)`` what the frames of a window are told.
    Latents and sums keep the dtype of ``latents``, whatever the network's. ``on_step(step, latents)`` is called after
    every step, ``on_window(step, window, unconditional, conditional)`` after every window.
    """
    levels = sigmas.tolist()
    for step, (plan, (sigma, sigma_next)) in enumerate(zip(plans, itertools.pairwise(levels), strict=True)):
        fuser = Fuser(plan, latents, latents.dtype)
        for window, frames in enumerate(plan.windows):
            told = condition(frames)
            index = torch.as_tensor(frames, device=latents.device)
            unconditional, conditional = predict_window(unet, latents[index], sigma, told)
            if on_window is not None:
                on_window(step, window, unconditional, conditional)
            fuser.add(window, guided(unconditional, conditional, told.guidance))
        # The step itself is taken in float32: at sigma 700 half precision would lose it.
        latents = euler_step(latents.float(), fuser.result().float(), sigma, sigma_next).to(latents.dtype)
        if on_step is not None:
            on_step(step, latents)
    return latents
