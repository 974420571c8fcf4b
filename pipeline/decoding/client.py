"""The parent's end of a decoder child: start it, hear it within a deadline, end it."""

import fcntl
import json
import os
import select
import signal
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

import numpy as np

from pipeline.decoding.fork_server import RUNNING, ForkServerLost, begin, drop
from pipeline.decoding.protocol import HEADER, REFUSED, TICK

# Python, NumPy and two decoders map about 0.4 GB before the first picture.
_MEMORY_BASE_BYTES = 2 << 30
# Up to 17 reference frames, what the decoder's threads and queues hold, and RGB copies, at 16 bits a sample.
_MEMORY_FRAMES = 48
_PIPE_BYTES = 1 << 20
_END_WITHIN_S = 10.0


class DecoderRefused(Exception):
    """The child read the file and will not go on; the text says why."""


class DecoderDied(Exception):
    """The child crashed, hung or was killed; the text says how."""


class DecoderProcess:
    """A running decoder child, in a session of its own so that it can be ended with all that it started."""

    def __init__(
        self, request: Mapping[str, Any], deadline_s: float, frame_pixels: int, arrays: Mapping[str, np.ndarray]
    ) -> None:
        """Start the child on a request.

        Args:
            request: what `process.py` reads; `arrays` are added to it as int64, in order.
            deadline_s: longest silence allowed, in seconds.
            frame_pixels: pixels of one frame, which the child's memory limit is made from.
        """
        self._deadline_s = deadline_s
        head = dict(request) | {
            "memory_bytes": _MEMORY_BASE_BYTES + _MEMORY_FRAMES * 3 * frame_pixels,
            **{name: len(values) for name, values in arrays.items()},
        }
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the child
        self._pipe, answers = os.pipe()
        self._ended = False
        # A file, not a pipe: a child that hangs before it reads would block us here.
        with tempfile.TemporaryFile() as asked, os.fdopen(answers, "wb"):
            asked.write(json.dumps(head).encode() + b"\n")
            for values in arrays.values():
                asked.write(values.astype(np.int64).tobytes())
            asked.seek(0)
            try:
                self._server, self._pid = begin(
                    "decord" if request["task"] == "decord" else "PyAV",
                    (asked.fileno(), answers, self._errors.fileno()),
                )
            except ForkServerLost as lost:
                self._ended = True
                self.close()
                raise DecoderDied(f"could not be started: {lost}") from lost
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)
        with suppress(OSError):  # the system's limit on pipe memory is used up: a small pipe works too
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def receive(self, longest: int) -> tuple[bytes, memoryview]:
        """The next message: its kind and its bytes, in a buffer of their own.

        Raises:
            DecoderRefused: the child says that it cannot read the file.
            DecoderDied: the child ended, fell silent for the deadline, or sent more than `longest` bytes.
        """
        while True:
            kind, length = HEADER.unpack(self._read(HEADER.size))
            if kind != TICK:
                break
        if length > longest:
            raise DecoderDied(f"sent {length} bytes where at most {longest} were due")
        payload = self._read(length)
        if kind == REFUSED:
            raise DecoderRefused(bytes(payload).decode(errors="replace"))
        return kind, payload

    def _read(self, count: int) -> memoryview:
        # Not a bytearray, which is filled with zeros first.
        buffer = np.empty(count, np.uint8).data
        view = buffer
        until = time.monotonic() + self._deadline_s
        while view:
            left = until - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                raise DecoderDied(f"gave no sign of life for {self._deadline_s:g} s")
            got = os.readv(self._pipe, [view])
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
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        self._errors.close()

    def __enter__(self) -> "DecoderProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
