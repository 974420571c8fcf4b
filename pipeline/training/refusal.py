"""What no second try mends: said once, by whichever worker met it, instead of as often as workers are started again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayTaskError

from pipeline.claim import StorageError
from pipeline.inputs import InputOutage
from pipeline.pose_table import PoseTableOutage


@ray.remote(num_cpus=0)
class Refusal:
    """Remembers for a run, whose workers come and go, why it cannot be."""

    def __init__(self) -> None:
        self._reason: str | None = None

    def say(self, reason: str) -> None:
        """The first reason counts: the others follow from it."""
        self._reason = self._reason or reason

    def reason(self) -> str | None:
        return self._reason


def unless_refused(refusal: Any, work: Callable[[], None]) -> None:
    """Do the ``work``, or nothing where it has been refused before.

    A wrong file, row or setting is a ``ValueError``: it is remembered, and raised, so that the other workers do not
    wait. What a store does not answer, it may answer to the next try.
    """
    if ray.get(refusal.reason.remote()) is not None:
        return
    try:
        work()
    except ValueError as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        if not isinstance(cause, (StorageError, InputOutage, PoseTableOutage)):
            # Ray Data adds what it says about tries of its own.
            ray.get(refusal.say.remote(str(cause).partition("\nFailed to apply UDF")[0]))
        raise
