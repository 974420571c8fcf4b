"""A reference picture, poses, and out come frames, on one device. The face of the model for notebooks and for jobs."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from model.alignment import align_to_reference
from model.checkpoint import Networks, load_networks
from model.conditioning import image_embedding, reference_latent, time_ids, to_signed
from model.decoder import decode, to_uint8
from model.denoiser import Condition, denoise
from model.embedded import embedded_networks
from model.embedded_config import EMBEDDED
from model.framing import LATENT_FACTOR, fit_picture, pad_to_network
from model.fusion import FusionPlan
from model.guidance import draw_pose_sequence
from model.keypoints import PoseSequence
from model.noise import frame_noise, reference_noise, released_noise
from model.sampler import guidance_ramp, initial_scale, karras_sigmas
from model.settings import DTYPES, AnimationSettings, parse_guidance
from model.unet import set_attention
from model.weight_files import fetch_weights

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with what is done (``step`` or ``frame``), how many are, and of how many."""


@dataclass(frozen=True, eq=False)
class Scene:
    """One animation, ready to run: all in pixels of the video that will come out.

    ``picture`` (H, W, 3) uint8, the reference scaled and cropped; ``reference_pose`` its person, 1 frame; ``poses``
    the driving poses fitted to that person, T frames; ``note`` why the fit is not the regular one, if it is not.
    """

    picture: np.ndarray
    reference_pose: PoseSequence
    poses: PoseSequence
    note: str | None

    def guidance(self) -> Iterator[np.ndarray]:
        """The driving frames' guidance images, (H, W, 3) uint8 each."""
        return draw_pose_sequence(self.poses, *self.picture.shape[:2])


def compose(
    reference: np.ndarray,
    reference_pose: PoseSequence,
    driving: PoseSequence,
    settings: AnimationSettings,
    half: bool = False,
) -> Scene:
    """Fit the picture to the video and the driving poses to the person in the picture.

    ``reference`` (H, W, 3) uint8; ``reference_pose`` one frame in its pixels (``PoseSequence.empty`` when nobody is
    seen: the poses are then centred in the picture); ``half`` as for ``fit_picture``.
    Raises ``ValueError`` when there is no driving frame.
    """
    if len(driving) == 0:
        raise ValueError("the driving poses have no frame")
    picture, fit = fit_picture(reference, settings.resolution, settings.style, half)
    height, width = reference.shape[:2]
    moved = reference_pose.moved(lambda points: fit.points(points, height, width), fit.width, fit.height)
    poses, note = align_to_reference(driving, moved, settings.style)
    return Scene(picture, moved, poses, note)


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
        if model == EMBEDDED:
            return cls(embedded_networks(device, dtype), attention)
        if checkpoint is None:
            raise ValueError(f"model {model} needs a MimicMotion checkpoint beside it; none was given")
        return cls(load_networks(fetch_weights(model, checkpoint), device, dtype), attention)

    @torch.no_grad()
    def animate(
        self, scene: Scene, settings: AnimationSettings, progress: Progress | None = None
    ) -> Iterator[np.ndarray]:
        """The video, frame after frame, (H, W, 3) uint8 RGB, as many as the scene has poses.

        Latents are kept for the whole video, decoded frames for two chunks at most.
        """
        height, width = scene.picture.shape[:2]
        latents = self._denoised(scene, settings, progress)
        released_style = settings.style == "released"
        if not released_style:
            # Frame 0 is the reference again, in its own pose: not part of the motion that the decoder smooths.
            latents = latents[1:]
        decoded = decode(
            self.networks.vae, latents, settings.decode_chunk, 0 if released_style else settings.decode_overlap
        )
        if released_style:
            next(decoded)
        for done, frame in enumerate(decoded, start=1):
            yield to_uint8(frame[:, :height, :width], truncate=released_style)
            if progress is not None:
                progress("frame", done, len(scene.poses))

    def _denoised(self, scene: Scene, settings: AnimationSettings, progress: Progress | None) -> torch.Tensor:
        networks = self.networks
        plan = settings.plan(len(scene.poses))
        sigmas = karras_sigmas(settings.steps, networks.sigma_min, networks.sigma_max)
        condition, noise = self._condition(scene, settings, plan)
        # Released: everything between the steps in the network's precision, sums over windows included.
        kept = networks.dtype if settings.style == "released" else torch.float32
        latents = (noise * initial_scale(networks.sigma_max)).to(networks.device, kept)

        def on_step(step: int, _latents: torch.Tensor) -> None:
            if progress is not None:
                progress("step", step + 1, settings.steps)

        return denoise(networks.unet, latents, sigmas, plan, condition, on_step=on_step)

    def _condition(self, scene: Scene, settings: AnimationSettings, plan: FusionPlan) -> tuple[Condition, torch.Tensor]:
        networks, released_style = self.networks, settings.style == "released"
        image = to_signed(pad_to_network(scene.picture))
        image_shape = (3, *image.shape[1:])
        latent_shape = (4, image.shape[1] // LATENT_FACTOR, image.shape[2] // LATENT_FACTOR)
        if released_style:
            image_noise, noise = released_noise(settings.seed, plan.frames, settings.window, image_shape, latent_shape)
        else:
            image_noise = reference_noise(settings.seed, image_shape)
            noise = frame_noise(settings.seed, plan.frames, latent_shape)
        noised = image + settings.noise_aug_strength * image_noise
        upcast = not released_style and bool(networks.vae.config.get("force_upcast", False))
        low, high = parse_guidance(settings.guidance)
        condition = Condition(
            image_embedding=image_embedding(networks.image_encoder, image),
            reference_latent=reference_latent(networks.vae, noised, upcast).to(networks.dtype),
            time_ids=time_ids(settings.model_fps, settings.motion_bucket_id, settings.noise_aug_strength).to(
                networks.device
            ),
            pose_features=self._pose_features(scene),
            guidance=guidance_ramp(low, high, plan.frames).to(networks.device),
        )
        return condition, noise

    def _pose_features(self, scene: Scene) -> torch.Tensor:
        """(F, C, h, w): every frame once, the reference's own pose first."""
        networks = self.networks
        height, width = scene.picture.shape[:2]
        features = []
        for poses in (scene.reference_pose, scene.poses):
            for image in draw_pose_sequence(poses, height, width):
                # Nobody is drawn beyond the picture.
                pixels = to_signed(pad_to_network(image, "constant"))[None].to(networks.device, networks.dtype)
                features.append(networks.pose_net(pixels))
        return torch.cat(features)
