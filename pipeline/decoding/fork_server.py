"""The parent's end of a process that has imported a decoder, and forks for every file.

A fresh interpreter takes a fifth of a second to import a decoder, and a short video takes two of them: as long as its
decoding. What forks has read no file; what has read one ends with it.
"""

import atexit
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

REQUEST = struct.Struct("<cq")
ANSWER = struct.Struct("<q")
BEGIN, ASK, END = b"B", b"A", b"E"
LIBRARIES = ("decord", "PyAV")
RUNNING, LOST = 1 << 32, 1 << 33
"""Answers besides an exit code, negative for a signal: it runs; there is no such child."""

DECODER_COMMAND = (sys.executable, "-P", "-m", "pipeline.decoding.process")
_PROJECT_ROOT = Path(__file__).parents[2]

# The child needs to find its interpreter and libraries. Object-store keys and tokens are no business of a process that
# parses untrusted bytes.
_ENVIRONMENT = ("PATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
# Otherwise glibc gives a picture's memory back to the system when it is done with, and has the pages of the next one
# handed out one by one: nearly half of what PyAV takes at 1080p. The first is the largest that glibc accepts.
_KEEPS_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
# Importing takes a second where the machine is busy, ending a killed child no time at all.
_ANSWERS_WITHIN_S = 60.0


class ForkServerLost(Exception):
    """It has crashed, hangs, or was killed; the next request starts another."""


class ForkServer:
    """A running one. Requests of several threads take turns."""

    def __init__(self, library: str) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                (*DECODER_COMMAND, library),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env=child_environment(),
            )
        ours.settimeout(_ANSWERS_WITHIN_S)
        self._socket = ours
        self._turn = threading.Lock()

    def begin(self, descriptors: tuple[int, int, int]) -> int:
        """Fork a child with these as its standard input, output and error; its process id."""
        return self._request(BEGIN, 0, descriptors)

    def exit_code(self, pid: int) -> int:
        """A child's exit code, negative for a signal, or ``RUNNING``; ``LOST`` when it was told already."""
        return self._request(ASK, pid)

    def end(self, pid: int) -> None:
        """Kill a child with all that it started, if it runs."""
        self._request(END, pid)

    def close(self) -> None:
        """End it and all its children, which it does itself when it can."""
        self._socket.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._process.kill()
        self._process.wait()

    def _request(self, kind: bytes, number: int, descriptors: Sequence[int] = ()) -> int:
        with self._turn:
            try:
                socket.send_fds(self._socket, [REQUEST.pack(kind, number)], list(descriptors))
                answer = self._socket.recv(ANSWER.size)
            except OSError as error:
                raise ForkServerLost(f"the process that starts decoders does not answer ({error})") from error
        if len(answer) != ANSWER.size:
            raise ForkServerLost("the process that starts decoders has ended")
        return int(ANSWER.unpack(answer)[0])


_servers: dict[tuple[str, tuple[str, ...]], ForkServer] = {}
_lock = threading.Lock()


def begin(library: str, descriptors: tuple[int, int, int]) -> tuple[ForkServer, int]:
    """A child of this process's server for one of the ``LIBRARIES``.

    They bring an FFmpeg each, and cannot share a process. ``descriptors`` become the child's standard input, output and
    error. Raises ``ForkServerLost`` where a new server is lost too.
    """
    server = _server(library)
    try:
        return server, server.begin(descriptors)
    except ForkServerLost:
        # Nobody was waiting for it: it may have been gone for long.
        drop(server)
    server = _server(library)
    try:
        return server, server.begin(descriptors)
    except ForkServerLost:
        drop(server)
        raise


def start_servers(libraries: Iterable[str]) -> None:
    """Have the servers of these import their decoders now rather than when the first file is asked for."""
    for library in libraries:
        _server(library)


def _server(library: str) -> ForkServer:
    with _lock:
        key = library, DECODER_COMMAND
        if key not in _servers:
            _servers[key] = ForkServer(library)
        return _servers[key]


def drop(server: ForkServer) -> None:
    """Have another one started at the next request."""
    with _lock:
        for key in [key for key, each in _servers.items() if each is server]:
            del _servers[key]
    server.close()


def _close_all() -> None:
    while _servers:
        _servers.popitem()[1].close()


def _forget_all() -> None:
    global _lock
    _servers.clear()
    _lock = threading.Lock()


atexit.register(_close_all)
# What this process forks has no part in what is said between it and its servers.
os.register_at_fork(after_in_child=_forget_all)


def child_environment() -> dict[str, str]:
    """What a process that reads untrusted bytes gets of this one's environment."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    paths = [str(_PROJECT_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), **_ONE_THREAD, **_KEEPS_MEMORY}
