"""What a coordinator asks of workers, and what they answer: as messages, packed."""

from __future__ import annotations

import dataclasses
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.fusion import FusionPlan
from model.messages import Assembly
from model.routes import Route


@dataclass(frozen=True, eq=False)
class StepOrder:
    """What a step is to all windows: its ``number``, and frame 0's latents before it, (4, h, w). ``save`` asks for a
    snapshot of the latents before the step, ``resume`` for going on from one.
    """

    number: int
    reference: np.ndarray
    save: bool
    resume: bool


@dataclass(frozen=True, eq=False)
class WindowOrder:
    """What a window is in all steps, as long as windows stay where they are: its ``frames``, what is ``incoming`` from
    the step before and ``outgoing`` to which ``consumers``, and the ``weight`` of frame 0 in it. Incoming parts of the
    windows in ``local`` are in the node's memory, under the video's name ``making``; the outgoing parts whose numbers
    are in ``hold`` are to be left there.
    """

    video: str
    making: str
    window: int
    frames: tuple[int, ...]
    incoming: tuple[Route, ...]
    outgoing: tuple[Route, ...]
    consumers: tuple[int, ...]
    weight: float
    local: frozenset[int] = frozenset()
    hold: frozenset[int] = frozenset()

    def assembly(self, step: int) -> Assembly:
        """How its latents before a step come about."""
        return Assembly(step, self.frames, self.incoming)


@dataclass(frozen=True, eq=False)
class ChunkOrder:
    """One chunk after the last step of a video's ``making``; ``shared`` are how many frames the chunks before and after
    have too. What comes of the windows in ``local`` is in the node's memory.
    """

    video: str
    making: str
    chunk: int
    assembly: Assembly
    reference: np.ndarray
    shared: tuple[int, int]
    local: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class WindowReport:
    """What the coordinator learns of a window: its share of frame 0's prediction, (4, h, w), the seconds it took, the
    bytes it handed over, whether the snapshot that was asked for is kept, and whether the node's memory has ``room``.
    """

    share: np.ndarray
    seconds: float
    sent: tuple[int, ...]
    saved: bool
    room: bool


@dataclass(frozen=True, eq=False)
class Transition:
    """Between two steps: what comes ``to`` each consumer, and what goes ``out`` of each window, to which consumer."""

    to: tuple[tuple[Route, ...], ...]
    out: tuple[tuple[tuple[int, Route], ...], ...]


class Orders:
    """The orders of all windows of a step that comes after the transition ``into`` it, if there is one, and before that
    ``out`` of it. They are the same as long as windows stay where they are, and packed but once.
    """

    def __init__(self, video: str, making: str, plan: FusionPlan, into: Transition | None, out: Transition) -> None:
        self.into, self.out = into, out
        self.windows = tuple(
            WindowOrder(
                video,
                making,
                window,
                frames,
                () if into is None else into.to[window],
                tuple(route for _, route in out.out[window]),
                tuple(consumer for consumer, _ in out.out[window]),
                float(plan.weights[window][0]),
            )
            for window, frames in enumerate(plan.windows)
        )
        self._packed: dict[tuple[int, frozenset[int], frozenset[int]], bytes] = {}

    def packed(self, window: int, local: frozenset[int], hold: frozenset[int]) -> bytes:
        """As a worker gets it whose node has the parts of the windows in ``local``, and that is to ``hold`` some."""
        key = (window, local, hold)
        if key not in self._packed:
            self._packed[key] = packed(dataclasses.replace(self.windows[window], local=local, hold=hold))
        return self._packed[key]


def packed(message: Any) -> bytes:
    """An order or a report as it travels. Ray sends bytes as they are, and pickles all else by Python code."""
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def unpacked(message: bytes) -> Any:
    """What was ``packed``."""
    return pickle.loads(message)  # noqa: S301 - from this run's own coordinator, or worker
