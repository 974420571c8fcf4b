"""The parent's end of a decoder child: start it, hear it within a deadline, end it."""

import json
import os
import select
import signal
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from pipeline.decoding.fork_server import RUNNING, ForkServerLost, begin, drop
from pipeline.decoding.protocol import ASKED, FRAME, HEADER, REFUSED, TAKEN, TICK

# Python, NumPy and two decoders map about 0.4 GB before the first picture.
_MEMORY_BASE_BYTES = 2 << 30
# Up to 17 reference frames, what the decoder's threads and queues hold, and RGB copies, at 16 bits a sample.
_MEMORY_FRAMES = 48
# Pictures that a child may be ahead by, as far as they fit into so many bytes.
_PLACES = 4
_PLACES_BYTES = 32 << 20
_END_WITHIN_S = 10.0


class DecoderRefused(Exception):
    """The child read the file and will not go on; the text says why."""


class DecoderDied(Exception):
    """The child crashed, hung or was killed; the text says how."""


class DecoderProcess:
    """A running decoder child, in a session of its own so that it can be ended with all that it started."""

    def __init__(self, library: str, deadline_s: float) -> None:
        """Start the child.

        Args:
            library: which is to read, one of `fork_server.LIBRARIES`.
            deadline_s: longest silence allowed while it has something to do, in seconds.

        Raises:
            DecoderDied: it could not be started.
        """
        self._deadline_s = deadline_s
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the child
        self._memory: BinaryIO | None = None
        self._frame_bytes = 0
        self._socket, theirs = socket.socketpair()
        self._ended = False
        try:
            with theirs:
                self._server, self._pid = begin(
                    library, (theirs.fileno(), self._errors.fileno(), self._errors.fileno())
                )
        except ForkServerLost as lost:
            self._ended = True
            self.close()
            raise DecoderDied(f"could not be started: {lost}") from lost
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def ask(
        self, request: Mapping[str, Any], frame_pixels: int, arrays: Sequence[np.ndarray] = (), frame_bytes: int = 0
    ) -> None:
        """Have the child do something. Once it has answered it may be asked again.

        Args:
            request: what `process.py` reads; `arrays` are added to it as int64, in order.
            frame_pixels: pixels of one frame, which the child's memory limit is made from. Not more than before.
            frame_bytes: of each picture that is to come, 0 where none is.

        Raises:
            DecoderDied: it has ended.
        """
        self._frame_bytes, self._place = frame_bytes, 0
        self._places = max(1, min(_PLACES, _PLACES_BYTES // max(1, frame_bytes)))
        head = dict(request) | {
            "memory_bytes": _MEMORY_BASE_BYTES + _MEMORY_FRAMES * 3 * frame_pixels,
            "arrays": [len(values) for values in arrays],
            "places": self._places,
        }
        # A file, not the socket: a child that hangs before it reads would block us here.
        with tempfile.TemporaryFile() as asked:
            asked.write(json.dumps(head).encode() + b"\n")
            for values in arrays:
                asked.write(values.astype(np.int64).tobytes())
            asked.seek(0)
            files = [asked.fileno()]
            if frame_bytes:
                self._memory = _memory_file(self._places * frame_bytes)
                files.append(self._memory.fileno())
            try:
                socket.send_fds(self._socket, [ASKED], files)
            except OSError as error:
                raise DecoderDied(self._how_it_ended()) from error

    def receive(self, longest: int) -> tuple[bytes, memoryview]:
        """The next message: its kind and its bytes, those of a picture where it is one, in a buffer of their own.

        Raises:
            DecoderRefused: the child says that it cannot read the file.
            DecoderDied: the child ended, fell silent for the deadline, or sent more than `longest` bytes.
        """
        while True:
            kind, length = HEADER.unpack(self._read(HEADER.size))
            if kind != TICK:
                break
        if kind == FRAME:
            return kind, self._taken(length)
        if length > longest:
            raise DecoderDied(f"sent {length} bytes where at most {longest} were due")
        payload = self._read(length)
        if kind == REFUSED:
            raise DecoderRefused(bytes(payload).decode(errors="replace"))
        return kind, payload

    def _taken(self, length: int) -> memoryview:
        if self._memory is None or length != self._frame_bytes:
            raise DecoderDied(f"sent a frame of {length} bytes, not {self._frame_bytes}")
        # Read, not mapped: if the child cuts the file short this gives less, and does not crash.
        buffer = np.empty(length, np.uint8).data
        if os.preadv(self._memory.fileno(), [buffer], self._place * length) != length:
            raise DecoderDied("took away the memory that its frames are in")
        self._place = (self._place + 1) % self._places
        with suppress(OSError):  # it has ended: that was the last
            self._socket.send(TAKEN)
        return buffer

    def _read(self, count: int) -> memoryview:
        # Not a bytearray, which is filled with zeros first.
        buffer = np.empty(count, np.uint8).data
        view = buffer
        until = time.monotonic() + self._deadline_s
        while view:
            left = until - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                raise DecoderDied(f"gave no sign of life for {self._deadline_s:g} s")
            try:
                got = self._socket.recv_into(view)
            except ConnectionError:  # with something from us that it has not read
                got = 0
            if not got:
                raise DecoderDied(self._how_it_ended())
            view = view[got:]
        return buffer

    def _how_it_ended(self) -> str:
        until = time.monotonic() + _END_WITHIN_S
        try:
            while (code := self._server.exit_code(self._pid)) == RUNNING:
                if time.monotonic() > until:
                    return "closed its output and went on running"
                time.sleep(0.01)
        except ForkServerLost as lost:
            drop(self._server)
            self._ended = True
            return f"was lost: {lost}"
        self._ended = True
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"{how} ({said[-1][:300]})" if said else how

    def close(self) -> None:
        """End the child and whatever it started. May be called again."""
        if not self._ended:
            self._ended = True
            try:
                self._server.end(self._pid)
            except ForkServerLost:
                drop(self._server)
        self._socket.close()
        self._errors.close()
        if self._memory is not None:
            self._memory.close()

    def __enter__(self) -> "DecoderProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _memory_file(count: int) -> BinaryIO:
    """A file of so many bytes that is nowhere but in memory, where Python knows of such."""
    if hasattr(os, "memfd_create"):
        made: BinaryIO = os.fdopen(os.memfd_create("frames"), "w+b")
    else:
        made = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the child
    made.truncate(count)
    return made
