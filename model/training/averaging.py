"""An exponential moving average of weights: what is exported, since it is better than the last step's."""

from __future__ import annotations

from collections.abc import Mapping

import torch


class Average:
    """Averages of named tensors, in float32 where they are.

    Early on the average follows fast: at step s with (1 + s) / (10 + s) if that is less than ``decay``.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor], decay: float) -> None:
        self.values = {name: tensor.detach().float().clone() for name, tensor in weights.items()}
        self._decay = decay

    @torch.no_grad()
    def update(self, weights: Mapping[str, torch.Tensor], step: int) -> None:
        """Take in the weights after ``step``, counted from 0."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        names = list(self.values)
        torch._foreach_lerp_(
            [self.values[name] for name in names], [weights[name].detach().float() for name in names], share
        )
