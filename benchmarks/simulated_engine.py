"""A worker's engine that takes its time and computes nothing: tensors of real size come and go, the GPU is a sleep.

Without PyTorch, so that 64 of them fit on one machine.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cluster.snapshots import Snapshots
from model.messages import Assembly, Chunk, Opening, Part
from model.routes import Route

WINDOW = 72
STEPS_MOST = 1000


@dataclass(frozen=True)
class SimulatedContent:
    """A video of which nothing is known."""

    snapshots: Snapshots | None = None

    def fetched(self) -> None:
        return None


class SimulatedEngine:
    """Both passes over a window take ``seconds``; latents are ``shape`` = (4, h, w) float32 a frame."""

    def __init__(self, seconds: float, shape: tuple[int, int, int]) -> None:
        self._seconds = seconds
        self._zeros = np.zeros((2 * WINDOW, *shape), np.float32)

    def open(self, name: str, video: Any) -> Opening:
        return Opening(tuple(float(STEPS_MOST - n) for n in range(STEPS_MOST)), self._zeros[0], "float32")

    def close(self, name: str) -> None:
        pass

    def assemble(self, name: str, assembly: Assembly, parts: Sequence[Part], reference: np.ndarray) -> int:
        for route, part in zip(assembly.incoming, parts, strict=True):
            if (len(part.done), len(part.shared), len(part.before)) != tuple(
                map(len, (route.done, route.shared, route.before))
            ):
                raise ValueError(f"a part of {part.nbytes} bytes is not what {route} says")
        return len(assembly.frames)

    def saved(self, latents: int) -> np.ndarray:
        return self._zeros[:latents]

    def restored(self, name: str, saved: np.ndarray) -> int:
        return len(saved)

    def predict(self, name: str, assembly: Assembly, latents: int) -> int:
        time.sleep(self._seconds)
        return latents

    def half(self, name: str, assembly: Assembly, latents: int, conditional: bool) -> np.ndarray:
        time.sleep(self._seconds / 2)
        return self._zeros[:latents]

    def guide(self, name: str, assembly: Assembly, unconditional: np.ndarray, conditional: np.ndarray) -> int:
        return len(conditional)

    def hand_over(
        self, name: str, assembly: Assembly, latents: int, prediction: int, weight: float, outgoing: Sequence[Route]
    ) -> tuple[np.ndarray, list[Part]]:
        def rows(frames: Sequence[int]) -> np.ndarray:
            return self._zeros[: len(frames)]

        parts = [Part(rows(route.done), rows(route.shared), rows(route.before)) for route in outgoing]
        return self._zeros[0], parts

    def decode(self, name: str, latents: int, shared: tuple[int, int]) -> Chunk:
        empty = np.zeros((0, 3, 1, 1), np.float32)
        return Chunk(empty, np.zeros((latents, 1, 1, 3), np.uint8), empty)
