"""PoseNet: a guidance image becomes features that are added after the UNet's first convolution."""

from __future__ import annotations

import math

import torch
from torch import nn

# (in, out, kernel, stride) of the eight convolutions, as released; padding 1 everywhere, SiLU after each.
_LAYERS = (
    (3, 3, 3, 1),
    (3, 16, 4, 2),
    (16, 16, 3, 1),
    (16, 32, 4, 2),
    (32, 32, 3, 1),
    (32, 64, 4, 2),
    (64, 64, 3, 1),
    (64, 128, 3, 1),
)


class PoseNet(nn.Module):
    """Guidance images (N, 3, H, W) in [-1, 1] to features (N, ``out_channels``, H/8, W/8).

    ``out_channels`` is the width of the UNet's first convolution (320 as released). Frames do not see each other and
    the diffusion step plays no part, so a frame is encoded once. A new PoseNet is a no-op: its last projection is zero
    (paper 3.2, as released).
    """

    def __init__(self, out_channels: int = 320) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, kernel, stride in _LAYERS:
            conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=1)
            nn.init.normal_(conv.weight, 0.0, math.sqrt(2.0 / (kernel * kernel * inputs)))
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            layers += [conv, nn.SiLU()]
        self.conv_layers = nn.Sequential(*layers)
        self.final_proj = nn.Conv2d(_LAYERS[-1][1], out_channels, kernel_size=1)
        nn.init.zeros_(self.final_proj.weight)
        nn.init.zeros_(self.final_proj.bias)  # type: ignore[arg-type]
        self.scale = nn.Parameter(torch.full((1,), 2.0))

    def forward(self, guidance: torch.Tensor) -> torch.Tensor:
        return self.final_proj(self.conv_layers(guidance)) * self.scale
