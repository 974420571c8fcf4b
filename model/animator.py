"""A reference picture, poses, and out come frames, on one device. The face of the model for notebooks and for jobs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np
import torch

from model.checkpoint import Networks, load_networks
from model.decoded import join
from model.decoder import decode_chunk, to_uint8
from model.denoiser import denoise
from model.embedded import EMBEDDED, weights_of
from model.pose_features import PoseFeatures
from model.scene import Scene
from model.settings import DTYPES, AnimationSettings
from model.staged_scene import StagedScene
from model.unet import set_attention
from model.weight_files import fetch_weights

Progress = Callable[[str, int, int], None]
"""Called with what is done (``step`` or ``frame``), how many are, and of how many."""


class Animator:
    """The networks, and what they do for one scene after another."""

    def __init__(self, networks: Networks, attention: str = "sdpa") -> None:
        """``attention`` is ``sdpa`` or ``xformers``. Raises ``ValueError`` for another."""
        set_attention(networks.unet, attention)
        self.networks = networks

    @classmethod
    def load(
        cls,
        model: str = EMBEDDED,
        checkpoint: str | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        attention: str = "sdpa",
    ) -> Animator:
        """Load from an SVD folder and a MimicMotion checkpoint, each a path or URI, or the embedded network.

        Raises ``ArtifactError`` for files that cannot be had, ``CheckpointError`` for those that do not fit, and
        ``ValueError`` for a device, dtype or attention that is not to be had.
        """
        if device != "cpu" and not re.fullmatch(r"cuda(:\d+)?", device):
            raise ValueError(f"device is {device!r}, expected cpu or cuda")
        if device != "cpu" and not torch.cuda.is_available():
            raise ValueError(f"device is {device!r}, but PyTorch sees no GPU here; choose cpu")
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
        return cls(load_networks(fetch_weights(*weights_of(model, checkpoint)), device, dtype), attention)

    @torch.no_grad()
    def animate(
        self, scene: Scene, settings: AnimationSettings, progress: Progress | None = None
    ) -> Iterator[np.ndarray]:
        """The video, frame after frame, (H, W, 3) uint8 RGB, as many as the scene has poses.

        Latents are kept for the whole video, decoded frames for two chunks at most.
        """
        height, width = scene.picture.shape[:2]
        latents = self._denoised(scene, settings, progress)
        spans, vae = settings.decode_spans(len(scene.poses)), self.networks.vae
        decoded = join((list(decode_chunk(vae, latents[start:stop])) for start, stop in spans), spans)
        for frame_number, frame in enumerate(decoded, start=spans[0][0]):
            if frame_number > 0:
                yield to_uint8(frame[:, :height, :width], truncate=settings.style == "released")
                if progress is not None:
                    progress("frame", frame_number, len(scene.poses))

    def _denoised(self, scene: Scene, settings: AnimationSettings, progress: Progress | None) -> torch.Tensor:
        networks, frames = self.networks, len(scene.poses) + 1
        features = PoseFeatures(networks.pose_net, networks.device, networks.dtype, networks.grid)
        staged = StagedScene(networks, scene.picture, scene.pose_of, frames, settings, features, "scene")

        def on_step(step: int, _latents: torch.Tensor) -> None:
            if progress is not None:
                progress("step", step + 1, settings.steps)

        plans = settings.plans(len(scene.poses))
        latents = staged.noise(range(frames))
        return denoise(networks.unet, latents, staged.sigmas, plans, staged.condition, on_step=on_step)
