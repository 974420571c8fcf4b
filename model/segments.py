"""One window of one step, apart from all others: what comes in, the network, and what goes out to whom.

The same arithmetic as ``denoiser.denoise``, cut where data changes hands, so that the latents are the same to the bit.
Arrays come and go as NumPy's, which travel without PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from model.animator import Animator
from model.decoder import decode_chunk, to_uint8
from model.denoiser import Condition, conditional_pass, guided, predict_window, unconditional_pass
from model.handover import assemble, hand_over, to_array, to_tensor
from model.messages import Assembly, Chunk, Opening, Part
from model.pose_features import PoseFeatures
from model.routes import Route
from model.scene import SegmentedVideo
from model.settings import AnimationSettings
from model.staged_scene import StagedScene


class SegmentEngine:
    """The networks, and the windows of several videos through them. Latents are not kept from call to call.

    A video is known by the name that it was opened under.
    """

    def __init__(self, animator: Animator) -> None:
        self._networks = animator.networks
        self._threads = torch.get_num_threads()
        self._features = PoseFeatures(
            self._networks.pose_net, self._networks.device, self._networks.dtype, self._networks.grid
        )
        self._staged: dict[str, StagedScene] = {}
        self._settings: dict[str, AnimationSettings] = {}

    @classmethod
    def load(cls, threads: int, **choice: Any) -> SegmentEngine:
        """An engine on ``Animator.load(**choice)`` that computes with so many threads on a CPU.

        Sums in convolutions are split by threads: other numbers of them give other last bits.
        """
        torch.set_num_threads(threads)
        return cls(Animator.load(**choice))

    def open(self, name: str, video: SegmentedVideo) -> Opening:
        """Encode the reference and keep what all windows need, until ``close``."""
        staged = StagedScene(
            self._networks, video.picture, video.pose_of, video.frames, video.settings, self._features, name
        )
        self._staged[name], self._settings[name] = staged, video.settings
        dtype = str(staged.dtype).removeprefix("torch.")
        return Opening(tuple(staged.sigmas.tolist()), to_array(staged.noise([0])[0]), dtype)

    def close(self, name: str) -> None:
        """Forget a video."""
        self._staged.pop(name, None)
        self._settings.pop(name, None)
        self._features.forget(name)

    @torch.no_grad()
    def assemble(self, name: str, assembly: Assembly, parts: Sequence[Part], reference: np.ndarray) -> torch.Tensor:
        """Latents before the step, (L, 4, h, w) on the device, of the frames of ``assembly``."""
        # OpenMP knows how many only in the thread that said so, and another may call than the one that loaded.
        torch.set_num_threads(self._threads)
        staged, device = self._staged[name], self._networks.device
        others = [frame for frame in assembly.frames if frame != 0]
        if not others:
            return to_tensor(reference, staged.dtype, device)[None]
        if assembly.incoming:
            latents = assemble(assembly, parts, staged.sigmas, staged.dtype, device)
        else:
            latents = staged.noise(others)
        if len(others) == len(assembly.frames):
            return latents
        return torch.cat([to_tensor(reference, staged.dtype, device)[None], latents])

    def saved(self, latents: torch.Tensor) -> np.ndarray:
        """Latents as they are kept in a snapshot."""
        return to_array(latents)

    def restored(self, name: str, saved: np.ndarray) -> torch.Tensor:
        """What was ``saved``, on the device."""
        return to_tensor(saved, self._staged[name].dtype, self._networks.device)

    @torch.no_grad()
    def predict(self, name: str, assembly: Assembly, latents: torch.Tensor) -> torch.Tensor:
        """The window's prediction after guidance, (L, 4, h, w): both passes."""
        told, sigma = self._told(name, assembly)
        return guided(*predict_window(self._networks.unet, latents, sigma, told), told.guidance)

    @torch.no_grad()
    def half(self, name: str, assembly: Assembly, latents: torch.Tensor, conditional: bool) -> np.ndarray:
        """One of the two passes alone, for another to put together with ``guide``."""
        told, sigma = self._told(name, assembly)
        run = conditional_pass if conditional else unconditional_pass
        return to_array(run(self._networks.unet, latents, sigma, told))

    def _told(self, name: str, assembly: Assembly) -> tuple[Condition, float]:
        staged = self._staged[name]
        return staged.condition(assembly.frames), staged.sigmas[assembly.step].item()

    @torch.no_grad()
    def guide(self, name: str, assembly: Assembly, unconditional: np.ndarray, conditional: np.ndarray) -> torch.Tensor:
        """The window's prediction out of its two passes."""
        networks, (told, _) = self._networks, self._told(name, assembly)
        first, second = (to_tensor(each, networks.dtype, networks.device) for each in (unconditional, conditional))
        return guided(first, second, told.guidance)

    @torch.no_grad()
    def hand_over(
        self,
        name: str,
        assembly: Assembly,
        latents: torch.Tensor,
        prediction: torch.Tensor,
        weight: float,
        outgoing: Sequence[Route],
    ) -> tuple[np.ndarray, list[Part]]:
        """As the function of that name."""
        staged = self._staged[name]
        return hand_over(assembly, latents, prediction.to(staged.dtype), weight, outgoing, staged.sigmas)

    @torch.no_grad()
    def decode(self, name: str, latents: torch.Tensor, shared: tuple[int, int]) -> Chunk:
        """Frames of (L, 4, h, w) latents after the last step; ``shared`` are how many are also the neighbours'."""
        staged, truncate = self._staged[name], self._settings[name].style == "released"
        frames = decode_chunk(self._networks.vae, latents)[..., : staged.height, : staged.width].cpu()
        head, tail = shared
        if head + tail > len(frames):
            head, tail = len(frames), 0
        stop = len(frames) - tail
        body = [to_uint8(frame, truncate) for frame in frames[head:stop]]
        return Chunk(
            head=frames[:head].numpy(),
            body=np.stack(body) if body else np.zeros((0, staged.height, staged.width, 3), np.uint8),
            tail=frames[stop:].numpy(),
        )
