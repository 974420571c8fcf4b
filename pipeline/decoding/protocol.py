"""What a decoder child and its parent say to each other.

The request comes on the child's standard input: a line of JSON, then raw int64 arrays. The answer on its standard
output is a row of messages, each a kind, a length and that many bytes.
"""

import os
import struct
import time
from typing import Any

HEADER = struct.Struct("<cQ")
INFO, TIMES, FRAME, TICK, END, REFUSED = b"I", b"T", b"F", b".", b"E", b"X"

TICK_EVERY_S = 1.0


class Refused(Exception):
    """This file cannot be read; the text says why and what to do."""


class Channel:
    """Messages to the parent."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._spoke = time.monotonic()

    def send(self, kind: bytes, payload: Any = b"") -> None:
        view = memoryview(payload).cast("B")
        self._write(memoryview(HEADER.pack(kind, len(view))))
        self._write(view)
        self._spoke = time.monotonic()

    def tick(self) -> None:
        """Say that work goes on, so that a long pass over the file is not taken for a hang."""
        if time.monotonic() - self._spoke > TICK_EVERY_S:
            self.send(TICK)

    def _write(self, view: memoryview) -> None:
        while view:
            view = view[os.write(self._descriptor, view) :]
