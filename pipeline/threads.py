"""Many small requests at once: waiting for a store, not computing."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_THREADS = 16

T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], items: Sequence[T], done: Callable[[], None] = lambda: None) -> list[R]:
    """What ``function`` returns for each item, in order, ``done`` called after each. Raises what the first raised."""
    results = []
    with _pool() as pool:
        for result in pool.map(function, items):
            results.append(result)
            done()
    return results


def ahead(function: Callable[[T], R], items: Iterable[T]) -> Generator[R, None, None]:
    """The same, one after another: no more than sixteen are asked for, or waiting to be taken, at any time."""
    with _pool() as pool:
        asked: deque[Future[R]] = deque()
        for item in items:
            if len(asked) == _THREADS:
                yield asked.popleft().result()
            asked.append(pool.submit(function, item))
        while asked:
            yield asked.popleft().result()


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(_THREADS, (os.cpu_count() or 1) * 4))


def attempt(function: Callable[[], R]) -> R | Exception:
    """What it returns, or the exception that it raised."""
    try:
        return function()
    except Exception as error:
        return error
