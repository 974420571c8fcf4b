"""A line from the coordinator to each worker on its node, for the calls that are made at every step: a socket.

A call by Ray wakes some nine threads here and as many there, each of which finds its caches cold after the seconds that
a step takes; on this line it is one here and one there. All else is called by Ray, and so is what was on the line when
that broke: it is Ray who says whether a worker is gone, and why.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import socket
import struct
import threading
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

log = logging.getLogger(__name__)

# The bytes of a message: before each, how many they are.
_LENGTH = struct.Struct("<Q")
_DONE, _FAILED = b"d", b"f"


class LineBroken(RuntimeError):
    """A worker's end of its line is gone."""


class Lines:
    """The coordinator's ends, by the names that workers have given theirs."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}
        self._server: asyncio.Server | None = None

    async def open(self, place: Path) -> None:
        """Have workers connect to ``place``. There are no lines where that cannot be had."""
        try:
            self._server = await asyncio.get_running_loop().create_unix_server(lambda: Line(self._lines), place)
        except OSError as error:
            log.info("no lines to workers (%s): steps are called by Ray", error)

    def get(self, name: str) -> Line | None:
        """The line of a worker, if it has one."""
        return self._lines.get(name)


class Line(asyncio.Protocol):
    """One of ``lines``, to which it adds itself under the name that is the first thing to come."""

    def __init__(self, lines: dict[str, Line]) -> None:
        self._lines = lines
        self._name: str | None = None
        self._came = bytearray()
        self._asked: deque[asyncio.Future[bytes]] = deque()
        self._transport: asyncio.WriteTransport | None = None

    def ask(self, *arguments: bytes) -> asyncio.Future[bytes]:
        """What the worker's function answers. Raises what that raises, and ``LineBroken``."""
        assert self._transport is not None  # one that is not connected has no name
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        for argument in arguments:
            self._transport.write(_LENGTH.pack(len(argument)))
            self._transport.write(argument)
        return answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Of another loop than that of asyncio it is none of its classes.
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._came += data
        while len(self._came) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._came)[0]
            if len(self._came) < end:
                return
            message = bytes(self._came[_LENGTH.size : end])
            del self._came[:end]
            self._take(message)

    def _take(self, message: bytes) -> None:
        if self._name is None:
            self._name = message.decode()
            self._lines[self._name] = self
            return
        answer = self._asked.popleft()
        # Nobody waits any more for what was cancelled.
        if answer.done():
            return
        if message[:1] == _DONE:
            answer.set_result(message[1:])
        else:
            answer.set_exception(_heard(message[1:]))

    def connection_lost(self, error: Exception | None) -> None:
        if self._name is not None:
            del self._lines[self._name]
        for answer in self._asked:
            if not answer.done():
                answer.set_exception(LineBroken(str(error or "closed by the worker")))


def line_name(node: str, pid: int) -> str:
    """What the line of a worker is called."""
    return f"{node} {pid}"


def connect(place: Path, name: str, function: Callable[[bytes, bytes], bytes]) -> None:
    """A worker's end: from now on ``function`` is called, in a thread, with what the coordinator sends. Nothing if
    there is nobody to connect to, as on another node.
    """
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.connect(str(place))
        _send(line, name.encode())
    except OSError:
        line.close()
        return
    threading.Thread(target=_serve, args=(line, function), daemon=True).start()


def _serve(line: socket.socket, function: Callable[[bytes, bytes], bytes]) -> None:
    # The coordinator's end is gone when it is, and then so is this worker, soon.
    with suppress(OSError), line:
        while True:
            arguments = _receive(line), _receive(line)
            try:
                answer = _DONE + function(*arguments)
            except Exception as error:
                answer = _FAILED + _told(error)
            _send(line, answer)


def _told(error: Exception) -> bytes:
    """An exception as it travels, with where it was raised; in words too, since not every one can be pickled."""
    words, where = f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))
    try:
        pickled = pickle.dumps(error)
    except Exception:  # of any kind, as what an exception holds is
        pickled = pickle.dumps(RuntimeError(words))
    return pickle.dumps((words, where, pickled))


def _heard(told: bytes) -> Exception:
    """What was ``_told``."""
    words, where, pickled = pickle.loads(told)  # noqa: S301 - from this run's own worker
    try:
        error = pickle.loads(pickled)  # noqa: S301 - likewise
    except Exception:  # not every one that was pickled can be made again
        error = RuntimeError(words)
    error.add_note(f"in a worker:\n{where}")
    return cast(Exception, error)


def _send(line: socket.socket, message: bytes) -> None:
    line.sendall(_LENGTH.pack(len(message)) + message)


def _receive(line: socket.socket) -> bytes:
    (left,) = _LENGTH.unpack(_exactly(line, _LENGTH.size))
    return _exactly(line, left)


def _exactly(line: socket.socket, length: int) -> bytes:
    came = bytearray(length)
    view = memoryview(came)
    while view:
        count = line.recv_into(view)
        if not count:
            raise ConnectionResetError
        view = view[count:]
    return bytes(came)
