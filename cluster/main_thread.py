"""The main thread of an actor, which Ray wakes a hundred times a second, and how to have it sleep instead.

Ray (2.60, ``CoreWorker.CheckSignal``, a constant in its source) looks every 10 ms whether a signal has come. On a
virtual machine, where it is dear to wake up, that takes up to a hundredth of a core of every actor, idle or at work.
The thread is needed when a call arrives; while none is to be expected it can as well wait. It gets into Python only to
handle a signal, so that is where it waits.
"""

from __future__ import annotations

import queue
import signal
import threading
import time
from contextlib import suppress
from typing import Any

# Of those that are free for everybody, one that nobody else is likely to take; macOS has two such.
_SIGNAL = signal.SIGRTMIN + 11 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2

# Between two sleeps, so that Ray gets to what has arrived: its round takes 10 ms.
_BETWEEN_S = 0.02


class MainThread:
    """Of the actor that it is made in. Does nothing if it is not made in the main thread, where alone signals are
    handled. A call that arrives all the same waits ``longest_s`` at most. ``naps`` counts how often it has slept.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self.naps = 0
        self._resting = self._asleep = False
        # These queues may be used in the midst of their own use, which in a signal's handler is needed.
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._overslept: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._usable = threading.current_thread() is threading.main_thread()
        if self._usable:
            signal.signal(_SIGNAL, self._sleep)
            threading.Thread(target=self._go_on, daemon=True).start()

    def rest(self) -> None:
        """No call is to be expected until ``wake``. Where it is the main thread itself that asks, it has work to do."""
        if self._usable and not self._resting and threading.current_thread() is not threading.main_thread():
            self._resting = True
            signal.raise_signal(_SIGNAL)

    def wake(self) -> None:
        """Calls are to be expected, unless that is so already."""
        if self._resting:
            self._resting = False
            self._woken.put(None)

    def _sleep(self, _number: int, _frame: Any) -> None:
        if self._asleep:
            return
        self._asleep = True
        self.naps += 1
        end = time.monotonic() + self._longest_s
        # What is found at once is of an earlier rest.
        while self._resting and (left := end - time.monotonic()) > 0:
            with suppress(queue.Empty):
                self._woken.get(timeout=left)
        self._asleep = False
        if self._resting:
            self._overslept.put(None)

    def _go_on(self) -> None:
        while True:
            self._overslept.get()
            time.sleep(_BETWEEN_S)
            if self._resting:
                signal.raise_signal(_SIGNAL)


def rest_between_looks(_actor: object, every_s: float) -> None:
    """What another's actor is to call, by ``__ray_call__``, for it to see so often only what it has been told.

    Here rather than with the caller: the actor imports this file for it, and should not import Ray Data.
    """
    threading.Thread(target=MainThread(every_s).rest, daemon=True).start()
