"""What a person may choose about an animation; every field changes the result and is part of its fingerprint."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from model.framing import parse_resolution
from model.fusion import FUSIONS, MOVING_FUSIONS, FusionPlan, step_plans
from model.style import Style
from model.windows import chunks

DTYPES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Precisions of the networks, by torch's name: the bytes of a number."""

STRATEGIES = (*FUSIONS, *MOVING_FUSIONS)

STYLES: tuple[Style, ...] = ("default", "released")


def _setting(default: Any, meaning: str) -> Any:
    """A field with its meaning, which command lines show."""
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True)
class AnimationSettings:
    """How to animate. Defaults are those of the released model (version 1.1).

    Raises ``ValueError`` naming the setting, its value and what was expected.
    """

    resolution: str = _setting("576", "short side of a 9:16 picture, or WIDTHxHEIGHT")
    window: int = _setting(72, "frames the network sees at once, the reference frame included")
    overlap: int = _setting(6, "driving frames that neighbouring windows share")
    fusion: str = _setting("progressive", f"how overlapping windows are blended: {', '.join(STRATEGIES)}")
    steps: int = _setting(25, "denoising steps")
    guidance: str = _setting("2", "classifier-free guidance: a number, or FIRST:LAST for an even ramp along the video")
    noise_aug_strength: float = _setting(0.0, "noise added to the reference picture before it is encoded")
    motion_bucket_id: int = _setting(127, "SVD's motion bucket; the released model knows 127 only")
    model_fps: int = _setting(
        7, "frame rate that the network is told, not the video's; the released model knows 7 only"
    )
    decode_chunk: int = _setting(8, "frames decoded at once")
    decode_overlap: int = _setting(2, "frames that neighbouring decoded chunks share (released style: none)")
    seed: int = _setting(42, "seed of all randomness")
    style: Style = _setting("default", "'released' keeps the released arithmetic where mending it changes the numbers")

    def __post_init__(self) -> None:
        self._whole("window", 2, 1024)
        # The released windows count the reference frame, which all of them share, as part of the overlap.
        self._whole("overlap", 0, self.window - (1 if self.fusion == "released" else 2))
        self._whole("steps", 1, 1000)
        self._whole("motion_bucket_id", 0, 1023)
        self._whole("model_fps", 1, 240)
        self._whole("decode_chunk", 1, 1024)
        self._whole("decode_overlap", 0, self.decode_chunk - 1)
        self._whole("seed", 0, 2**63 - 1)
        if not (isinstance(self.noise_aug_strength, (int, float)) and 0 <= self.noise_aug_strength <= 10):
            raise ValueError(f"noise_aug_strength is {self.noise_aug_strength!r}, expected 0 to 10")
        for name, allowed in (("fusion", STRATEGIES), ("style", STYLES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(allowed)}")
        parse_resolution(self.resolution)
        parse_guidance(self.guidance)

    def _whole(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"{name} is {value!r}, expected a whole number from {low} to {high}")

    def plans(self, driving_frames: int) -> tuple[FusionPlan, ...]:
        """Every step's windows and weights for a video of so many frames (the reference frame is added here)."""
        return step_plans(self.fusion, driving_frames + 1, self.window, self.overlap, self.steps)

    def decode_spans(self, driving_frames: int) -> list[tuple[int, int]]:
        """(start, stop) of the frames that are decoded together, frame 0 being the reference.

        It is among them in released style only: it is the reference again, in its own pose, and no part of the motion
        that the decoder smooths.
        """
        if self.style == "released":
            return chunks(driving_frames + 1, self.decode_chunk, 0)
        return [(start + 1, stop + 1) for start, stop in chunks(driving_frames, self.decode_chunk, self.decode_overlap)]

    def replace(self, **changes: object) -> AnimationSettings:
        """These settings with some changed, checked again."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


def parse_guidance(text: str) -> tuple[float, float]:
    """``"2"`` or ``"1:3"`` to (first, last). Raises ``ValueError``."""
    parts = text.split(":") if isinstance(text, str) else []
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(math.isfinite(number) and 0 <= number <= 100 for number in numbers):
        raise ValueError(f"guidance is {text!r}, expected a number from 0 to 100, or FIRST:LAST")
    return numbers[0], numbers[-1]
