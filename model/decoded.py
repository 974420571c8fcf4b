"""What has been decoded, chunk by chunk, as frames and levels, in PyTorch's arrays or NumPy's: the same operations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch

Array = TypeVar("Array", "torch.Tensor", "np.ndarray")


def join(decoded: Iterable[Sequence[Any]], spans: Sequence[tuple[int, int]]) -> Iterator[Any]:
    """The frames of chunks (start, stop), one after another. Those in two chunks have to be arrays; others just pass.

    Over C shared frames, the later chunk comes in by j / (C + 1), j = 1..C: the decoder's frames near a chunk's border
    lack neighbours, and the border would show as a jump every chunk. No more than two chunks are held.
    """
    tail: Sequence[Any] = ()
    for number, frames in enumerate(decoded):
        start, stop = spans[number]
        following = spans[number + 1][0] if number + 1 < len(spans) else stop
        steps = len(tail) + 1
        mixed = [frames[j - 1] * (j / steps) + tail[j - 1] * (1 - j / steps) for j in range(1, steps)]
        whole = [*mixed, *frames[len(tail) :]]
        del frames
        yield from whole[: following - start]
        tail = whole[following - start :]


def to_levels(frame: Array, truncate: bool = False) -> Array:
    """Pixels in about [-1, 1], any shape, to 0 to 255: rounded, unless what follows is to ``truncate``, as released."""
    levels = (frame / 2 + 0.5).clip(0, 1) * 255
    return levels if truncate else levels.round()
