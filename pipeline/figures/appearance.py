"""What a figure and the place it stands in look like, drawn at random."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Literal

import numpy as np

Colour = tuple[float, float, float]

_SKINS: tuple[Colour, ...] = (
    (255, 224, 196),
    (241, 194, 160),
    (224, 172, 125),
    (198, 134, 90),
    (141, 85, 52),
    (92, 58, 38),
)
_HAIRS: tuple[Colour, ...] = (
    (30, 24, 22),
    (78, 50, 32),
    (140, 90, 45),
    (214, 176, 104),
    (170, 66, 34),
    (150, 150, 155),
)


@dataclass(frozen=True)
class Appearance:
    """Colours are RGB in 0..255; widths are shares of the torso's length; ``light`` is how much the right is darker."""

    skin: Colour
    hair: Colour
    cut: Literal["short", "long", "bun", "bald"]
    shirt: Colour
    second: Colour
    pattern: Literal["plain", "stripes", "band", "blob"]
    sleeves: Literal["none", "short", "long"]
    legwear: Literal["trousers", "shorts", "skirt"]
    legs: Colour
    shoes: Colour
    arm_width: float
    leg_width: float
    torso_width: float
    head_size: float
    light: float
    sky: tuple[Colour, Colour]
    floor: tuple[Colour, float]
    shapes: tuple[tuple[float, float, float, float, Colour, bool], ...]


def draw_appearance(rng: np.random.Generator) -> Appearance:
    """Somebody, somewhere."""
    shirt, second, legs = (_clothes(rng) for _ in range(3))
    bright = rng.uniform(0.45, 0.95)
    hue, saturation = rng.random(), rng.uniform(0.03, 0.3)
    top, bottom = (
        _colour(hue, saturation, float(np.clip(bright + rng.uniform(-0.12, 0.12), 0.2, 1))) for _ in range(2)
    )
    floor = _colour(rng.random(), rng.uniform(0.05, 0.35), float(np.clip(bright - rng.uniform(0.1, 0.3), 0.15, 0.9)))
    shapes = tuple(
        (
            rng.uniform(0, 1),
            rng.uniform(0, 0.8),
            rng.uniform(0.06, 0.3),
            rng.uniform(0.06, 0.3),
            _colour(rng.random(), rng.uniform(0.05, 0.4), float(np.clip(bright + rng.uniform(-0.25, 0.2), 0.1, 1))),
            bool(rng.random() < 0.5),
        )
        for _ in range(int(rng.integers(0, 5)))
    )
    return Appearance(
        skin=_SKINS[rng.integers(len(_SKINS))],
        hair=_HAIRS[rng.integers(len(_HAIRS))],
        cut=("short", "long", "bun", "bald")[rng.choice(4, p=(0.4, 0.35, 0.15, 0.1))],
        shirt=shirt,
        second=second,
        pattern=("plain", "stripes", "band", "blob")[rng.choice(4, p=(0.4, 0.2, 0.2, 0.2))],
        sleeves=("none", "short", "long")[rng.choice(3, p=(0.2, 0.45, 0.35))],
        legwear=("trousers", "shorts", "skirt")[rng.choice(3, p=(0.55, 0.25, 0.2))],
        legs=legs,
        shoes=_clothes(rng),
        arm_width=rng.uniform(0.15, 0.2),
        leg_width=rng.uniform(0.2, 0.28),
        torso_width=rng.uniform(0.95, 1.15),
        head_size=rng.uniform(0.95, 1.1),
        light=rng.uniform(-0.25, 0.25),
        sky=(top, bottom),
        floor=(floor, rng.uniform(0.7, 0.92)),
        shapes=shapes,
    )


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def _clothes(rng: np.random.Generator) -> Colour:
    if rng.random() < 0.25:
        return _colour(0, 0, rng.uniform(0.08, 0.97))
    return _colour(rng.random(), rng.uniform(0.35, 0.95), rng.uniform(0.3, 0.95))
