"""The latents of the reference, frame 0, which are part of every window: stepped once, from what all windows say.

Whoever coordinates the windows does this and nothing else with latents. In NumPy, that it need not import PyTorch: two
seconds of a core and 180 MB.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.euler import euler_step
from model.messages import Opening


def _rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """As near as ``dtype`` comes to them, of two as near to the even one; bfloat16, which NumPy lacks, in float32."""
    if dtype != "bfloat16":
        return values.astype(dtype)
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    # Not to be rounded, or one could become infinity.
    return np.where(np.isnan(values), np.float32(np.nan), rounded.view(np.float32))


def step_reference(opening: Opening, step: int, reference: np.ndarray, shares: Sequence[np.ndarray]) -> np.ndarray:
    """Frame 0's latents (4, h, w) after a step: the ``shares`` of all windows, in their order, are its prediction.

    The bits that PyTorch gives in ``opening.dtype``, and as silently where they are no numbers.
    """
    dtype = opening.dtype
    latents = _rounded(reference, dtype)
    velocity = np.zeros_like(latents)
    sigma, sigma_next = opening.sigmas[step], opening.sigmas[step + 1]
    with np.errstate(over="ignore", invalid="ignore"):
        for share in shares:
            velocity = _rounded(velocity + _rounded(share, dtype), dtype)
        return _rounded(euler_step(latents.astype(np.float32), velocity.astype(np.float32), sigma, sigma_next), dtype)
