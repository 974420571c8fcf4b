"""The windows' predictions, put together as a plan of fusion says."""

from __future__ import annotations

import torch

from model.fusion import FusionPlan


class Fuser:
    """Adds the windows' predictions up into one, (F, C, h, w); call ``add`` in the order of the windows.

    Sums in ``dtype`` and in the order of the calls, so the result depends on the order alone and not on who computed
    the parts.
    """

    def __init__(self, plan: FusionPlan, like: torch.Tensor, dtype: torch.dtype) -> None:
        self._plan = plan
        self._sum = torch.zeros((plan.frames, *like.shape[1:]), dtype=dtype, device=like.device)

    def add(self, window: int, prediction: torch.Tensor) -> None:
        """``prediction`` (L, C, h, w) of the frames ``plan.windows[window]``."""
        weight = torch.as_tensor(self._plan.weights[window], dtype=self._sum.dtype, device=self._sum.device)
        index = torch.as_tensor(self._plan.windows[window], device=self._sum.device)
        self._sum[index] += weight.view(-1, 1, 1, 1) * prediction.to(self._sum.dtype)

    def result(self) -> torch.Tensor:
        return self._sum
