"""What a person may choose about an animation; every field changes the result and is part of its fingerprint."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from model.conditioning import parse_resolution
from model.fusion import FUSIONS

STYLES = ("default", "released")


@dataclass(frozen=True)
class AnimationSettings:
    """How to animate. Defaults are those of the released model (version 1.1).

    Raises ``ValueError`` naming the setting, its value and what was expected.
    """

    resolution: str = "576"
    """Short side of a 9:16 picture, or WIDTHxHEIGHT."""
    window: int = 72
    """Frames the network sees at once, the reference frame included."""
    overlap: int = 6
    """Driving frames that neighbouring windows share."""
    fusion: str = "progressive"
    steps: int = 25
    guidance: str = "2"
    """Classifier-free guidance: one number, or FIRST:LAST for an even ramp along the video."""
    noise_aug_strength: float = 0.0
    motion_bucket_id: int = 127
    model_fps: int = 7
    """The frame rate the network is told, not that of the video (the released model was always told 7)."""
    decode_chunk: int = 8
    decode_overlap: int = 2
    """Frames that neighbouring decoded chunks share; the released style shares none."""
    seed: int = 42
    style: str = "default"
    """``released`` keeps the released arithmetic where mending it would change the numbers."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("window", 2, 1024),
            ("overlap", 0, self.window - 2),
            ("steps", 1, 1000),
            ("motion_bucket_id", 0, 1023),
            ("model_fps", 1, 240),
            ("decode_chunk", 1, 1024),
            ("decode_overlap", 0, self.decode_chunk - 1),
            ("seed", 0, 2**63 - 1),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ValueError(f"{name} is {value!r}, expected a whole number from {low} to {high}")
        if not (isinstance(self.noise_aug_strength, (int, float)) and 0 <= self.noise_aug_strength <= 10):
            raise ValueError(f"noise_aug_strength is {self.noise_aug_strength!r}, expected 0 to 10")
        for name, allowed in (("fusion", tuple(FUSIONS)), ("style", STYLES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(allowed)}")
        parse_resolution(self.resolution)
        parse_guidance(self.guidance)

    def replace(self, **changes: object) -> AnimationSettings:
        """These settings with some changed, checked again."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


def parse_guidance(text: str) -> tuple[float, float]:
    """``"2"`` or ``"1:3"`` to (first, last). Raises ``ValueError``."""
    parts = text.split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(math.isfinite(number) and 0 <= number <= 100 for number in numbers):
        raise ValueError(f"guidance is {text!r}, expected a number from 0 to 100, or FIRST:LAST")
    return numbers[0], numbers[-1]
