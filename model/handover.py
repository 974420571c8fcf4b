"""Where latents change hands between windows: put together before a step, and parted after it.

The same arithmetic as ``denoiser.denoise`` and ``fuser.Fuser``, for some frames at a time, so that the latents are the
same to the bit. Arrays travel as NumPy's.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch

from model.euler import euler_step
from model.messages import Assembly, Part
from model.routes import Route


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
        latents[_places(route.done, frames)] = to_tensor(part.done, dtype, device)
        weights = torch.tensor(route.weights, dtype=dtype, device=device).view(-1, 1, 1, 1)
        velocity[_places(route.shared, frames)] += weights * to_tensor(part.shared, dtype, device)
        before[_places(route.before, frames)] = to_tensor(part.before, dtype, device)
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
        parts.append(Part(to_array(stepped), to_array(prediction[shared]), to_array(latents[before])))
    return to_array(share), parts


def _stepped(latents: torch.Tensor, velocity: torch.Tensor, sigmas: torch.Tensor, step: int) -> torch.Tensor:
    sigma, sigma_next = sigmas[step].item(), sigmas[step + 1].item()
    return euler_step(latents.float(), velocity.float(), sigma, sigma_next).to(latents.dtype)


def _places(wanted: Sequence[int], frames: Sequence[int]) -> list[int]:
    place = dict(zip(frames, itertools.count(), strict=False))
    return [place[frame] for frame in wanted]


def to_array(tensor: torch.Tensor) -> np.ndarray:
    """As it travels."""
    # NumPy has no bfloat16; float32 holds it exactly.
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().contiguous().numpy()


def to_tensor(array: np.ndarray, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """What has travelled, copied: the object store's own memory cannot be written."""
    return torch.tensor(array, dtype=dtype, device=device)
