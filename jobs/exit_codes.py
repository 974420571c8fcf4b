"""How a job ends, for whoever started it."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable

from jobs.arguments import WRONG_REQUEST


def exit_code(work: Callable[[], int]) -> int:
    """Do a job's work with its log on standard error; a wrong request is one line and ``WRONG_REQUEST``."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that is no UTF-8 must not end a job when everything is written.
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    try:
        return work()
    except (OSError, RuntimeError, ValueError) as error:  # what names a file, a row or a setting is one of these
        print(f"error: {error}", file=sys.stderr)
        return WRONG_REQUEST
