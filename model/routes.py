"""What each window of a denoising step must hand to whom. Pure; frames are indices into the video, 0 the reference's.

After a step, whoever goes on with some frames needs their latents. A frame that one window alone has seen is finished
there. A frame that several have seen is finished where it is needed: every one of them hands over its prediction, one
of them the frame's latents from before the step. Frame 0 is in every window and takes a way of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.fusion import FusionPlan


@dataclass(frozen=True)
class Route:
    """From one window to one consumer: frames ``done`` by it alone, whose latents after the step it hands over; frames
    it ``shared`` with other windows, whose prediction it hands over, with their ``weights`` in the sum; and ``before``,
    those of the shared frames whose latents from before the step it adds.
    """

    source: int
    done: tuple[int, ...]
    shared: tuple[int, ...]
    weights: tuple[float, ...]
    before: tuple[int, ...]

    @property
    def frames(self) -> int:
        """How many frames of latents travel."""
        return len(self.done) + len(self.shared) + len(self.before)


def routes(plan: FusionPlan, consumers: Sequence[Sequence[int]]) -> tuple[tuple[Route, ...], ...]:
    """For every consumer's frames, what comes from which window of the step just taken, in the order of the windows.

    Between neighbours that stay where they are, with C frames shared, that is C frames each way. Raises ``ValueError``
    when a frame is in no window.
    """
    seen_by: list[list[int]] = [[] for _ in range(plan.frames)]
    for index, members in enumerate(plan.windows):
        for frame in members[1:]:
            seen_by[frame].append(index)
    position = [{frame: place for place, frame in enumerate(members)} for members in plan.windows]
    return tuple(_incoming(plan, seen_by, position, consumer) for consumer in consumers)


def _incoming(
    plan: FusionPlan, seen_by: list[list[int]], position: list[dict[int, int]], consumer: Sequence[int]
) -> tuple[Route, ...]:
    frames = [frame for frame in consumer if frame != 0]
    if not frames:
        return ()
    if missing := [frame for frame in frames if not seen_by[frame]]:
        raise ValueError(f"frame {missing[0]} is in no window")
    sources = sorted({source for frame in frames for source in seen_by[frame]})
    main = max(sources, key=lambda source: (sum(frame in position[source] for frame in frames), -source))
    found = []
    for source in sources:
        own = [frame for frame in frames if frame in position[source]]
        shared = tuple(frame for frame in own if len(seen_by[frame]) > 1)
        found.append(
            Route(
                source,
                done=tuple(frame for frame in own if len(seen_by[frame]) == 1),
                shared=shared,
                weights=tuple(float(plan.weights[source][position[source][frame]]) for frame in shared),
                before=tuple(
                    frame for frame in shared if source == (main if main in seen_by[frame] else seen_by[frame][0])
                ),
            )
        )
    return tuple(found)
