"""How a job ends, for whoever started it."""

from __future__ import annotations

import io
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jobs.arguments import FAILED, WRONG_REQUEST


def exit_code(work: Callable[[], int]) -> int:
    """Do a job's work with its log on standard error; a wrong request is one line and ``WRONG_REQUEST``.

    So is an interruption from the keyboard, or by whoever ends processes (``ray job stop``, a scheduler, a shutdown):
    what the work holds is given back first. The code is then the shell's, 128 and the signal's number.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that is no UTF-8 must not end a job when everything is written.
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    ended_by: list[int] = []
    try:
        with _told_to_end(ended_by):
            return work()
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from what is finished", file=sys.stderr)
        return 128 + (ended_by[0] if ended_by else signal.SIGINT)
    except (OSError, RuntimeError, ValueError) as error:  # what names a file, a row or a setting is one of these
        print(f"error: {error}", file=sys.stderr)
        return WRONG_REQUEST
    except Exception as error:
        # Of Ray, where it has been loaded: a lost cluster is many lines of its own innards.
        ray = sys.modules.get("ray.exceptions")
        if ray is None or not isinstance(error, ray.RayError):
            raise
        reason = str(error).partition("\n")[0]
        print(
            f"error: Ray failed ({type(error).__name__}: {reason}); run again: what is finished stays", file=sys.stderr
        )
        return FAILED


@contextmanager
def _told_to_end(by: list[int]) -> Iterator[None]:
    """SIGTERM ends the block as the keyboard would, where Python can hear it.

    Its number is noted: Ray Train raises an interruption of its own for any.
    """

    def interrupt(number: int, _frame: Any) -> None:
        by.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
