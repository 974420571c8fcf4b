"""A line to a worker: calls and answers in order, errors as they were raised, and an end that is noticed."""

import asyncio
import socket
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster import line
from cluster.line import Line, LineBroken, Lines, connect

pytestmark = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])


class Awkward(ValueError):
    """One that can be pickled and not be made again."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


def with_line(loop: Callable, function: Callable[[bytes, bytes], bytes], use: Callable[[Line, Lines], Awaitable[None]]):
    """Have the coordinator's end of a line used behind which ``function`` is."""

    async def main() -> None:
        lines = Lines()
        # The path of a socket is short, and that of a test's own folder is not.
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "line"
            await lines.open(place)
            await asyncio.to_thread(connect, place, "name", function)
            while (end := lines.get("name")) is None:
                await asyncio.sleep(0.001)
            await use(end, lines)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 5)), min_size=1, max_size=6))
def test_answers_come_in_the_order_of_the_calls_however_long_they_are(loop, lengths):
    asked = [(bytes([number]) * length, bytes([number]) * other) for number, (length, other) in enumerate(lengths)]

    async def use(end: Line, _lines: Lines) -> None:
        answers = await asyncio.gather(*(end.ask(*arguments) for arguments in asked))
        assert answers == [first + b"|" + second for first, second in asked]

    with_line(loop, lambda first, second: first + b"|" + second, use)


def test_what_the_function_raises_is_raised_and_the_line_goes_on(loop):
    class Odd(Exception):
        """One that cannot be pickled."""

    errors = {b"known": KeyError("window 3"), b"local": Odd("of its own"), b"awkward": Awkward("one", "other")}

    def function(first: bytes, _second: bytes) -> bytes:
        if first in errors:
            raise errors[first]
        return first

    async def use(end: Line, _lines: Lines) -> None:
        with pytest.raises(KeyError, match="window 3") as caught:
            await end.ask(b"known", b"")
        # Where it was, for whoever has to mend it.
        assert "in function" in caught.value.__notes__[0]
        with pytest.raises(RuntimeError, match="Odd: of its own"):
            await end.ask(b"local", b"")
        with pytest.raises(RuntimeError, match="Awkward: one and other"):
            await end.ask(b"awkward", b"")
        assert await end.ask(b"good", b"") == b"good"

    with_line(loop, function, use)


def test_an_answer_that_nobody_waits_for_any_more_is_passed_over(loop):
    go_on = threading.Event()

    def function(first: bytes, _second: bytes) -> bytes:
        go_on.wait(10)
        return first

    async def use(end: Line, _lines: Lines) -> None:
        given_up, waited_for = end.ask(b"one", b""), end.ask(b"two", b"")
        given_up.cancel()
        go_on.set()
        assert await waited_for == b"two"

    with_line(loop, function, use)


def test_a_worker_that_is_gone_breaks_its_line(loop, monkeypatch):
    def gone(*_arguments: object) -> None:
        raise ConnectionResetError("gone")

    async def use(end: Line, lines: Lines) -> None:
        asked = [end.ask(b"one", b""), end.ask(b"two", b"")]
        for answer in asked:
            with pytest.raises(LineBroken):
                await answer
        assert lines.get("name") is None

    first = line._send

    def once(end: socket.socket, message: bytes) -> None:
        first(end, message)
        monkeypatch.setattr(line, "_send", gone)

    monkeypatch.setattr(line, "_send", once)
    with_line(loop, lambda first, second: first, use)


def test_where_nobody_can_be_called_there_is_no_line(loop, tmp_path):
    # As on another node.
    connect(tmp_path / "nobody", "name", lambda first, second: first)
    # As with a folder for temporary files that is deep down.
    lines = Lines()
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(lines.open(tmp_path / ("x" * 120)))
    assert lines.get("name") is None
