"""A scene on the device that animates it: what is computed once for all windows and steps."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from model.conditioning import image_embedding, reference_latent, time_ids, to_signed
from model.denoiser import Condition
from model.framing import pad_to_multiple
from model.guidance import CANVAS_SHORT_SIDE, canvas_short_side, draw_pose_sequence
from model.keypoints import PoseSequence
from model.noise import frame_noise, reference_noise, released_noise, tile_noise
from model.pose_features import PoseFeatures
from model.sampler import guidance_ramp, initial_scale, karras_sigmas
from model.settings import AnimationSettings, parse_guidance

if TYPE_CHECKING:
    from model.checkpoint import Networks


class StagedScene:
    """What one device needs of a scene for all its steps: the encoded reference, and what any of its frames is told.

    ``pose_of(frame)`` gives the fitted pose, 1 frame, of frame 0 (the reference's own) to ``frames - 1``.
    """

    def __init__(
        self,
        networks: Networks,
        picture: np.ndarray,
        pose_of: Callable[[int], PoseSequence],
        frames: int,
        settings: AnimationSettings,
        features: PoseFeatures,
        name: Hashable,
    ) -> None:
        self._networks, self._pose_of, self._settings = networks, pose_of, settings
        self._features, self._name = features, name
        self.height, self.width = picture.shape[:2]
        grid = networks.grid
        image = to_signed(pad_to_multiple(picture, grid.multiple))
        image_shape = (3, *image.shape[1:])
        self._latent_shape = grid.shape(self.height, self.width)
        self._guidance_size = tuple(round(side * grid.guidance_scale) for side in picture.shape[:2])
        released_style = settings.style == "released"
        self._tile: torch.Tensor | None = None
        if released_style:
            image_noise, self._tile = released_noise(settings.seed, settings.window, image_shape, self._latent_shape)
        else:
            image_noise = reference_noise(settings.seed, image_shape)
        noised = image + settings.noise_aug_strength * image_noise
        upcast = not released_style and bool(networks.vae.config.get("force_upcast", False))
        with torch.no_grad():
            self._embedding = image_embedding(networks.image_encoder, image)
            self._reference = reference_latent(networks.vae, noised, upcast).to(networks.dtype)
        ids = time_ids(settings.model_fps, settings.motion_bucket_id, settings.noise_aug_strength)
        self._time_ids = ids.to(networks.device)
        low, high = parse_guidance(settings.guidance)
        self._guidance = guidance_ramp(low, high, frames).to(networks.device)
        self._guided = bool((self._guidance > 1).any())
        # Released: everything between the steps in the network's precision, sums over windows included.
        self.dtype = networks.dtype if released_style else torch.float32
        """Of the latents between the steps."""
        self.sigmas = karras_sigmas(settings.steps, networks.sigma_min, networks.sigma_max)
        """Noise levels, (steps + 1,)."""

    def noise(self, frames: Sequence[int]) -> torch.Tensor:
        """Latents before the first step, (L, 4, h, w), of these frames."""
        settings = self._settings
        if self._tile is not None:
            normal = tile_noise(self._tile, frames)
        else:
            normal = frame_noise(settings.seed, frames, self._latent_shape)
        return (normal * initial_scale(self._networks.sigma_max)).to(self._networks.device, self.dtype)

    def condition(self, frames: Sequence[int]) -> Condition:
        """What the network is told of these frames."""
        return Condition(
            image_embedding=self._embedding,
            reference_latent=self._reference,
            time_ids=self._time_ids,
            pose_features=self._features.of(self._name, frames, self._drawn),
            guidance=self._guidance[torch.as_tensor(frames, device=self._guidance.device)],
            guided=self._guided,
        )

    def _drawn(self, frame: int) -> np.ndarray:
        height, width = self._guidance_size
        canvas = CANVAS_SHORT_SIDE if self._settings.style == "released" else canvas_short_side(height, width)
        (image,) = draw_pose_sequence(self._pose_of(frame), height, width, canvas)
        return image
