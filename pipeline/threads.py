"""Many small requests at once: waiting for a store, not computing."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_THREADS = 16

T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """What ``function`` returns for each item, in order. Raises what the first of them raised."""
    with ThreadPoolExecutor(min(_THREADS, (os.cpu_count() or 1) * 4)) as pool:
        return list(pool.map(function, items))


def attempt(function: Callable[[], R]) -> R | Exception:
    """What it returns, or the exception that it raised."""
    try:
        return function()
    except Exception as error:
        return error
