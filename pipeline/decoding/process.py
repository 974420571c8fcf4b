"""The program that parses untrusted video, in a process of its own for every file.

Native decoders crash in ways that no `except` sees, and hang. Here they take down a process that holds nothing but one
open file. It is forked from one that has imported the decoder and reads no file; `fork_server.py` is the other end of
that one, `client.py` of those that read.
"""

import gc
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from pipeline.decoding.fork_server import ANSWER, ASK, BEGIN, LOST, REQUEST, RUNNING
from pipeline.decoding.protocol import REFUSED, TICK_EVERY_S, Channel, Refused


def confine(memory_bytes: int) -> None:
    """Bound what a hostile file can take: address space, core dumps, and anything written to disk."""
    # Standard error goes to a file: a megabyte of complaints is enough.
    for limit, wanted in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 1 << 20),
    ):
        hard = resource.getrlimit(limit)[1]
        bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(limit, (bound, bound))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(TICK_EVERY_S)
    os._exit(1)


def _work(request: dict[str, Any], arrays: Sequence[np.ndarray], channel: Channel) -> None:
    # decord and PyAV bring an FFmpeg each, and decord's has its symbols global: one of them in a process is enough.
    if request["task"] == "probe":
        from pipeline.decoding.probe import probe

        probe(request, channel)
        return
    timestamps, wanted = arrays
    if request["task"] == "decord":
        from pipeline.decoding.with_decord import decode_with_decord

        decode_with_decord(request, timestamps, channel)
    else:
        from pipeline.decoding.with_pyav import decode_with_pyav

        decode_with_pyav(request, timestamps, wanted, channel)


def answer_parent() -> None:
    """Do what the parent asks for over the socket that is standard input, one after another, and end."""
    # Native libraries print where they like, and may read; the socket gets a descriptor that they do not know.
    channel = Channel(os.dup(0))
    os.dup2(1, 0)
    try:
        while (asked := channel.next_request()) is not None:
            request, arrays = asked
            confine(request["memory_bytes"])
            _work(request, arrays, channel)
    except Refused as reason:
        channel.send(REFUSED, str(reason).encode())
    except MemoryError:
        channel.send(REFUSED, b"it takes more memory than a decoder is given. Scale it down")
    except ConnectionError:
        pass  # the parent has all that it wanted
    except Exception as error:
        channel.send(REFUSED, f"reading it failed ({type(error).__name__}: {error}); it may be damaged".encode())


class _Children:
    """Those that were forked and whose end nobody has been told."""

    def __init__(self) -> None:
        self._alive: set[int] = set()

    def begin(self, parents_end: socket.socket, descriptors: Sequence[int]) -> int:
        server = os.getpid()
        pid = os.fork()
        if pid:
            self._alive.add(pid)
            return pid
        try:
            os.setsid()
            parents_end.close()
            for place, descriptor in enumerate(descriptors):
                os.dup2(descriptor, place)
            for descriptor in descriptors:
                os.close(descriptor)
            threading.Thread(target=_end_with, args=(server,), daemon=True).start()
            answer_parent()
        except BaseException:
            # What was asked for is the parent's own doing; whatever goes wrong with it must not go on as a server.
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
            os._exit(1)
        # Past this point lie the decoders' destructors, which can hang.
        os._exit(0)

    def exit_code(self, pid: int) -> int:
        if pid not in self._alive:
            return LOST
        found, status = os.waitpid(pid, os.WNOHANG)
        if not found:
            return RUNNING
        self._alive.remove(pid)
        return os.waitstatus_to_exitcode(status)

    def end(self, pid: int) -> int:
        if pid not in self._alive:
            return LOST
        # Its number is its own until it is waited for.
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        self._alive.remove(pid)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def end_all(self) -> None:
        for pid in list(self._alive):
            self.end(pid)


def main() -> None:
    """Fork for every file, until the parent hangs up."""
    # A missing library is for the child to report, of the file that needs it.
    with suppress(ImportError):
        if sys.argv[-1] == "decord":
            import pipeline.decoding.with_decord
        else:
            import pipeline.decoding.probe  # noqa: F401
    gc.freeze()
    connection, children = socket.socket(fileno=0), _Children()
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, REQUEST.size, 3)
        if not message:
            children.end_all()
            os._exit(0)
        kind, number = REQUEST.unpack(message)
        if kind == BEGIN:
            answer = children.begin(connection, descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
        else:
            answer = children.exit_code(number) if kind == ASK else children.end(number)
        connection.send(ANSWER.pack(answer))


if __name__ == "__main__":
    main()
