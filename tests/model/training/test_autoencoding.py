"""The VAE's loss weighs errors and latents alike in pictures of any size."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from model.training.autoencoding import AutoencodingObjective


class _Posterior:
    """A divergence of one and a half in each of four channels at each place."""

    def __init__(self, frames: torch.Tensor) -> None:
        count, _, height, width = frames.shape
        self.mean = torch.full((count, 4, height // 8, width // 8), 3.0**0.5)
        self.std = self.var = torch.ones_like(self.mean)
        self.logvar = torch.zeros_like(self.mean)


class _Black(torch.nn.Module):
    """A VAE that decodes every latent as black."""

    def encode(self, frames: torch.Tensor) -> Any:
        self._shape = frames.shape
        return SimpleNamespace(latent_dist=_Posterior(frames))

    def decode(self, latents: torch.Tensor, num_frames: int) -> Any:
        return SimpleNamespace(sample=torch.zeros(self._shape))


def divergence_term(height: int, width: int, **weight: float) -> float:
    """The loss of two black frames."""
    vae: Any = _Black()
    frames, noise = torch.zeros(1, 2, 3, height, width), torch.zeros(1, 2, 4, height // 8, width // 8)
    return float(AutoencodingObjective(vae, **weight)(frames, noise))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 64), (384, 256)])
def test_latents_weigh_the_same_in_pictures_of_any_size(height, width):
    assert divergence_term(height, width) == pytest.approx(divergence_term(64, 64))
    assert divergence_term(height, width, kl_weight=0.0) == 0


@pytest.mark.parametrize(("side", "weight"), [((96, 64), {}), ((32, 32), {"kl_weight": 0.003072})])
def test_the_recipes_of_the_vae_that_ships_weigh_latents_as_they_did(side, weight):
    places = side[0] // 8 * side[1] // 8
    assert divergence_term(*side, **weight) == float(1e-6 * torch.tensor(4 * 1.5 * places))
