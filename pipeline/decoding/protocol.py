"""What a decoder child and its parent say to each other.

Over one socket. The parent hands over what is asked as a file: a line of JSON, then raw int64 arrays; and where
pictures are wanted, memory for some of them, in which they lie one behind another, in turns. The child answers by
messages, each a kind, a length and that many bytes, save for a picture, of which the bytes are in that memory. The
parent sends a byte back for each picture that it has taken out, whose place is free then.
"""

import json
import mmap
import os
import socket
import struct
import time
from typing import Any

import numpy as np

HEADER = struct.Struct("<cQ")
INFO, TIMES, FRAME, TICK, END, REFUSED = b"I", b"T", b"F", b".", b"E", b"X"
ASKED, TAKEN = b"?", b"+"

TICK_EVERY_S = 1.0

# All pages of it at once, where the system can: one by one they take longer than the pictures.
_AT_ONCE = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)


class Refused(Exception):
    """This file cannot be read; the text says why and what to do."""


class Channel:
    """The child's end."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._spoke = time.monotonic()

    def next_request(self) -> tuple[dict[str, Any], list[np.ndarray]] | None:
        """What is asked, with its arrays; ``None`` when nothing more will be."""
        sign, descriptors, _, _ = socket.recv_fds(self._socket, len(ASKED), 2)
        if not sign:
            return None
        with os.fdopen(descriptors[0], "rb") as asked:
            request = json.loads(asked.readline())
            arrays = [np.frombuffer(asked.read(8 * count), np.int64) for count in request["arrays"]]
        for memory in descriptors[1:]:
            self._places = np.frombuffer(mmap.mmap(memory, 0, _AT_ONCE), np.uint8).reshape(request["places"], -1)
            self._free, self._next = len(self._places), 0
            os.close(memory)
        return request, arrays

    def send(self, kind: bytes, payload: Any = b"") -> None:
        """Send a message, a picture when there is room for it: an array of as many bytes as were asked for.

        Raises ``ConnectionError`` where the parent wants no more.
        """
        if kind == FRAME:
            self._put(payload)
            self._socket.sendall(HEADER.pack(kind, payload.nbytes))
        else:
            view = memoryview(payload).cast("B")
            self._socket.sendall(HEADER.pack(kind, len(view)))
            self._socket.sendall(view)
        self._spoke = time.monotonic()

    def tick(self) -> None:
        """Say that work goes on, so that a long pass over the file is not taken for a hang."""
        if time.monotonic() - self._spoke > TICK_EVERY_S:
            self.send(TICK)

    def _put(self, pixels: np.ndarray) -> None:
        if not self._free:
            self._free = len(self._socket.recv(len(self._places)))
            if not self._free:
                raise BrokenPipeError
        np.copyto(self._places[self._next].reshape(pixels.shape), pixels)
        self._free -= 1
        self._next = (self._next + 1) % len(self._places)
