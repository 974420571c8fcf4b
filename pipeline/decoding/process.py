"""The program that parses untrusted video, in a process of its own.

Native decoders crash in ways that no `except` sees, and hang. Here they take down a process that holds nothing but one
open file. `client.py` is the parent's end.
"""

import json
import os
import resource
import sys
import threading
import time
from typing import Any

import numpy as np

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


def _work(request: dict[str, Any], channel: Channel) -> None:
    # decord and PyAV bring an FFmpeg each, and decord's has its symbols global: one of them in a process is enough.
    if request["task"] == "probe":
        from pipeline.decoding.probe import probe

        probe(request, channel)
        return
    timestamps, wanted = (
        np.frombuffer(sys.stdin.buffer.read(8 * request[name]), np.int64) for name in ("timestamps", "wanted")
    )
    if request["task"] == "decord":
        from pipeline.decoding.with_decord import decode_with_decord

        decode_with_decord(request, timestamps, wanted, channel)
    else:
        from pipeline.decoding.with_pyav import decode_with_pyav

        decode_with_pyav(request, timestamps, wanted, channel)


def main() -> None:
    # Native libraries print where they like; the messages get a descriptor that they do not know.
    channel = Channel(os.dup(1))
    os.dup2(2, 1)
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with, args=(request["parent"],), daemon=True).start()
    confine(request["memory_bytes"])
    try:
        _work(request, channel)
    except Refused as reason:
        channel.send(REFUSED, str(reason).encode())
    except MemoryError:
        channel.send(REFUSED, b"it takes more memory than a decoder is given. Scale it down")
    except BrokenPipeError:
        pass  # the parent has all that it wanted
    except Exception as error:
        channel.send(REFUSED, f"reading it failed ({type(error).__name__}: {error}); it may be damaged".encode())
    # Past this point lie the decoders' destructors, which can hang.
    os._exit(0)


if __name__ == "__main__":
    main()
