"""What travels between a coordinator and those who work on windows. Without PyTorch, so that anybody can read it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.routes import Route


@dataclass(frozen=True, eq=False)
class Opening:
    """What a coordinator needs to know: noise levels (steps + 1), frame 0's latents (4, h, w) before the first, and the
    precision that latents have between the steps.
    """

    sigmas: tuple[float, ...]
    reference: np.ndarray
    dtype: str


@dataclass(frozen=True)
class Assembly:
    """How some frames' latents before step ``step`` come about: from the ``incoming`` parts, or, when there are none,
    as noise. ``frames`` may include the reference's, 0, whose latents are given apart.
    """

    step: int
    frames: tuple[int, ...]
    incoming: tuple[Route, ...]


@dataclass(frozen=True, eq=False)
class Part:
    """What travels along a ``Route``: latents (n, 4, h, w) of each of its three kinds."""

    done: np.ndarray
    shared: np.ndarray
    before: np.ndarray

    @property
    def nbytes(self) -> int:
        return self.done.nbytes + self.shared.nbytes + self.before.nbytes


@dataclass(frozen=True, eq=False)
class Chunk:
    """Decoded frames in order: those that the chunk before shares, (a, 3, H, W) float32 to be blended; finished ones,
    (n, H, W, 3) uint8; those that the next chunk shares.
    """

    head: np.ndarray
    body: np.ndarray
    tail: np.ndarray

    def frames(self) -> list[np.ndarray]:
        """All of them, one after another, as ``decoded.join`` takes them."""
        return [*self.head, *self.body, *self.tail]
