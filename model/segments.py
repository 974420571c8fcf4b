"""One window of one step, apart from all others: what comes in, the network, and what goes out to whom.

The same arithmetic as ``denoiser.denoise``, cut where data changes hands, so that the latents are the same to the bit.
Arrays come and go as NumPy's, which travel without PyTorch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from model.animator import Animator
from model.decoder import decode_chunk, to_uint8
from model.denoiser import Condition, conditional_pass, guided, predict_window, unconditional_pass
from model.keypoints import PoseSequence
from model.pose_features import PoseFeatures
from model.routes import Route
from model.sampler import euler_step
from model.scene import StagedScene
from model.settings import AnimationSettings


@dataclass(frozen=True, eq=False)
class SegmentedVideo:
    """What is the same for all windows of a video: ``frames`` counts the reference frame, ``pose_of`` gives the fitted
    pose of each; the rest as in ``Scene``.
    """

    picture: np.ndarray
    frames: int
    settings: AnimationSettings
    pose_of: Callable[[int], PoseSequence]


@dataclass(frozen=True, eq=False)
class Opening:
    """What a coordinator needs to know: noise levels (steps + 1), frame 0's latents (4, h, w) before the first, and the
    precision that latents have between the steps.
    """

    sigmas: tuple[float, ...]
    reference: np.ndarray
    dtype: str


@dataclass(frozen=True)
class Assembly:
    """How some frames' latents before step ``step`` come about: from the ``incoming`` parts, or, when there are none,
    as noise. ``frames`` may include the reference's, 0, whose latents are given apart.
    """

    step: int
    frames: tuple[int, ...]
    incoming: tuple[Route, ...]


@dataclass(frozen=True, eq=False)
class Part:
    """What travels along a ``Route``: latents (n, 4, h, w) of each of its three kinds."""

    done: np.ndarray
    shared: np.ndarray
    before: np.ndarray

    @property
    def nbytes(self) -> int:
        return self.done.nbytes + self.shared.nbytes + self.before.nbytes


@dataclass(frozen=True, eq=False)
class Chunk:
    """Decoded frames in order: those that the chunk before shares, (a, 3, H, W) float32 to be blended; finished ones,
    (n, H, W, 3) uint8; those that the next chunk shares.
    """

    head: np.ndarray
    body: np.ndarray
    tail: np.ndarray

    def frames(self) -> list[torch.Tensor | np.ndarray]:
        """One after another, as ``decoder.join`` takes them."""
        # Copied, since arrays out of an object store cannot be written and PyTorch warns of it.
        return [*torch.from_numpy(self.head.copy()), *self.body, *torch.from_numpy(self.tail.copy())]


class SegmentEngine:
    """The networks, and the windows of several videos through them. Latents are not kept from call to call."""

    def __init__(self, animator: Animator) -> None:
        self._networks = animator.networks
        self._features = PoseFeatures(self._networks.pose_net, self._networks.device, self._networks.dtype)
        self._staged: dict[str, StagedScene] = {}
        self._settings: dict[str, AnimationSettings] = {}

    def open(self, name: str, video: SegmentedVideo) -> Opening:
        """Encode the reference and keep what all windows need, until ``close``."""
        staged = StagedScene(
            self._networks, video.picture, video.pose_of, video.frames, video.settings, self._features, name
        )
        self._staged[name], self._settings[name] = staged, video.settings
        return Opening(
            tuple(staged.sigmas.tolist()), _array(staged.noise([0])[0]), str(staged.dtype).removeprefix("torch.")
        )

    def close(self, name: str) -> None:
        """Forget a video."""
        self._staged.pop(name, None)
        self._settings.pop(name, None)
        self._features.forget(name)

    def assemble(self, name: str, assembly: Assembly, parts: Sequence[Part], reference: np.ndarray) -> torch.Tensor:
        """Latents before the step, (L, 4, h, w) on the device, of the frames of ``assembly``."""
        staged, device = self._staged[name], self._networks.device
        others = [frame for frame in assembly.frames if frame != 0]
        if assembly.incoming:
            latents = assemble(assembly, parts, staged.sigmas, staged.dtype, device)
        else:
            latents = staged.noise(others)
        if len(others) == len(assembly.frames):
            return latents
        return torch.cat([_tensor(reference, staged.dtype, device)[None], latents])

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
        return _array(run(self._networks.unet, latents, sigma, told))

    def _told(self, name: str, assembly: Assembly) -> tuple[Condition, float]:
        staged = self._staged[name]
        return staged.condition(assembly.frames), staged.sigmas[assembly.step].item()

    @torch.no_grad()
    def guide(self, name: str, assembly: Assembly, unconditional: np.ndarray, conditional: np.ndarray) -> torch.Tensor:
        """The window's prediction out of its two passes."""
        networks, (told, _) = self._networks, self._told(name, assembly)
        first, second = (_tensor(each, networks.dtype, networks.device) for each in (unconditional, conditional))
        return guided(first, second, told.guidance)

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


def assemble(
    assembly: Assembly, parts: Sequence[Part], sigmas: torch.Tensor, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """Latents before the step, (L, 4, h, w), of all its frames but the reference's, out of what the last step left."""
    frames = [frame for frame in assembly.frames if frame != 0]
    latents = torch.zeros((len(frames), *parts[0].done.shape[1:]), dtype=dtype, device=device)
    velocity, before = torch.zeros_like(latents), torch.zeros_like(latents)
    shared: set[int] = set()
    # The order of the sums is that of the windows, whoever was first.
    for route, part in zip(assembly.incoming, parts, strict=True):
        latents[_places(route.done, frames)] = _tensor(part.done, dtype, device)
        weights = torch.tensor(route.weights, dtype=dtype, device=device).view(-1, 1, 1, 1)
        velocity[_places(route.shared, frames)] += weights * _tensor(part.shared, dtype, device)
        before[_places(route.before, frames)] = _tensor(part.before, dtype, device)
        shared.update(route.shared)
    index = _places(sorted(shared), frames)
    latents[index] = _stepped(before[index], velocity[index], sigmas, assembly.step - 1)
    return latents


def hand_over(
    assembly: Assembly,
    latents: torch.Tensor,
    prediction: torch.Tensor,
    weight: float,
    outgoing: Sequence[Route],
    sigmas: torch.Tensor,
) -> tuple[np.ndarray, list[Part]]:
    """What a window leaves: its share of frame 0's prediction, (4, h, w), and a part for every outgoing route.

    ``latents`` before the step and ``prediction``, (L, 4, h, w) of the frames of ``assembly``, in the dtype of the
    sums; ``weight`` is that of frame 0 in this window.
    """
    # Added to zero as all sums are: it turns a negative zero.
    velocity = torch.zeros_like(prediction) + prediction
    share = torch.zeros_like(prediction[0])
    share += torch.tensor(weight, dtype=prediction.dtype, device=prediction.device) * prediction[0]
    parts = []
    for route in outgoing:
        done, shared, before = (_places(kind, assembly.frames) for kind in (route.done, route.shared, route.before))
        stepped = _stepped(latents[done], velocity[done], sigmas, assembly.step)
        parts.append(Part(_array(stepped), _array(prediction[shared]), _array(latents[before])))
    return _array(share), parts


def step_reference(opening: Opening, step: int, reference: np.ndarray, shares: Sequence[np.ndarray]) -> np.ndarray:
    """Frame 0's latents (4, h, w) after a step: the ``shares`` of all windows, in their order, are its prediction."""
    dtype, device = getattr(torch, opening.dtype), torch.device("cpu")
    latents = _tensor(reference, dtype, device)
    velocity = torch.zeros_like(latents)
    for share in shares:
        velocity += _tensor(share, dtype, device)
    return _array(_stepped(latents, velocity, torch.tensor(opening.sigmas), step))


def _stepped(latents: torch.Tensor, velocity: torch.Tensor, sigmas: torch.Tensor, step: int) -> torch.Tensor:
    sigma, sigma_next = sigmas[step].item(), sigmas[step + 1].item()
    return euler_step(latents.float(), velocity.float(), sigma, sigma_next).to(latents.dtype)


def _places(wanted: Sequence[int], frames: Sequence[int]) -> list[int]:
    place = dict(zip(frames, itertools.count(), strict=False))
    return [place[frame] for frame in wanted]


def _array(tensor: torch.Tensor) -> np.ndarray:
    # NumPy has no bfloat16; float32 holds it exactly.
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().contiguous().numpy()


def _tensor(array: np.ndarray, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.tensor(array, dtype=dtype, device=device)
