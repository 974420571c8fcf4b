"""The step from one noise level to the next, in PyTorch's arrays or NumPy's: the same operations, so the same bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch

Array = TypeVar("Array", "torch.Tensor", "np.ndarray")


def euler_step(latents: Array, velocity: Array, sigma: float, sigma_next: float) -> Array:
    """One Euler step from ``sigma`` to ``sigma_next`` along the v-prediction; any shape.

    x0 = x / (s^2 + 1) - v * s / sqrt(s^2 + 1);  x' = x + (x - x0) / s * (s' - s). Linear in v, so it commutes with
    fusion.
    """
    denoised = velocity * (-sigma / math.sqrt(sigma**2 + 1)) + latents / (sigma**2 + 1)
    return latents + (latents - denoised) / sigma * (sigma_next - sigma)
