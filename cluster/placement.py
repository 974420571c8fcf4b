"""Which worker should have which window, by where windows were before and by the pace of the workers."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

# Paces are never quite the same, and windows had better stay where they are.
_UNEVEN, _FRACTION = 1.1, 0.25


def blocks(windows: int, workers: Iterable[int]) -> list[int | None]:
    """Who should have which window at first: neighbours together, or nobody in particular when workers abound."""
    numbers = list(workers)
    if windows < len(numbers) or not numbers:
        return [None] * windows
    return [numbers[window * len(numbers) // windows] for window in range(windows)]


def levelled(preferred: Sequence[int | None], paces: Mapping[int, float]) -> list[int | None]:
    """Who should have which window, of those who would do it soonest: nobody in particular where that worker is gone,
    or has its share of windows before it. ``paces`` are the seconds a window of each worker at hand.

    After a loss one worker has more than its share, and another less. Were those windows to stay with it, it would have
    taken the last of them before the one with fewer is seen to be idle, at every step.
    """
    share, given = shares(len(preferred), paces), Counter[int]()
    found: list[int | None] = []
    for number in preferred:
        if number is not None and given[number] < share.get(number, 0):
            given[number] += 1
            found.append(number)
        else:
            found.append(None)
    return found


def shares(windows: int, paces: Mapping[int, float]) -> dict[int, int]:
    """How many windows each worker can have without being the last by much."""
    ends = [(pace, number) for number, pace in paces.items()]
    heapq.heapify(ends)
    last = 0.0
    for _ in range(windows if ends else 0):
        # Each goes to whoever would be done with it first.
        last, number = ends[0]
        heapq.heapreplace(ends, (last + paces[number], number))
    return {number: int(_UNEVEN * last / pace + _FRACTION) for number, pace in paces.items()}
