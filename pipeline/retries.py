"""Storage that answers with an error now and then is asked again, after a longer pause each time."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger(__name__)

# The stores' own clients retry within seconds too; this is for the outage of a server, not for a lost packet.
PAUSES_S = (0.5, 2.0, 5.0)
# Asking again changes nothing about these.
_FINAL = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError, ImportError)

T = TypeVar("T")


def patiently(ask: Callable[[], T], what: str) -> T:
    """What ``ask`` returns, tried once more after each pause. Raises what the last try raised.

    ``what`` names the request in the log. A file that is missing or forbidden is not asked for again. Each pause is
    shortened at random by up to a half, so that many workers do not come back at the same moment.
    """
    for pause in PAUSES_S:
        try:
            return ask()
        except Exception as error:  # every store has exceptions of its own
            if is_final(error):
                raise
            log.warning("%s failed (%s: %s); trying again", what, type(error).__name__, error)
            time.sleep(pause * random.uniform(0.5, 1.0))
    return ask()


def is_final(error: BaseException) -> bool:
    """Whether asking again changes nothing: a file is missing or forbidden, or nothing here speaks to its store."""
    return isinstance(error, _FINAL) and not is_outage(error)


def is_outage(error: BaseException) -> bool:
    """Whether fsspec calls a file missing whose server answered with an error of its own, or not at all, as its HTTP
    does.
    """
    cause = error.__cause__
    unreached = any(kind.__name__ == "ClientConnectionError" for kind in type(cause).__mro__)
    return unreached or int(getattr(cause, "status", 0)) >= 500
