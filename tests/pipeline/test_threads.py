"""Requests at once: in order, as many as are allowed, and no more than are taken."""

from __future__ import annotations

import itertools
import threading
from contextlib import closing

import pytest

from pipeline.threads import ahead

MOST = 16


def test_what_comes_next_is_asked_for_while_one_is_taken():
    together = threading.Barrier(4)

    def ask(item: int) -> int:
        together.wait(timeout=30)
        return -item

    assert list(ahead(ask, range(12))) == [-item for item in range(12)]


def test_no_more_are_asked_for_than_may_wait():
    taken = itertools.count()
    with closing(ahead(abs, taken)) as results:
        assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
        assert next(taken) <= 5 + MOST


def test_an_error_comes_where_its_item_would():
    def ask(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    results = ahead(ask, range(100))
    assert list(itertools.islice(results, 3)) == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
