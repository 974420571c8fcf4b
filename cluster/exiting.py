"""How a process of an actor ends that nobody needs any more.

Ray takes leave of the node, then Python clears up, then Ray's own destructors run, and these can wait for ever for a
lock that they hold themselves (2.60: a message that was still to be published is destroyed while the queue is locked
that its answer goes to, ``CoreWorkerProcess::HandleAtExit``). On a machine with little else to do three of 24 workers
that animate rows stayed so, with all their memory, after their jobs. And Python's clearing up takes most of a second of
a core.
"""

from __future__ import annotations

import atexit
import os

import ray


def exit_at_once() -> None:
    """Have this process end as soon as Python begins to clear up, if it is an actor's.

    What was registered with ``atexit`` before is not called then; what is registered later is.
    """
    if ray.is_initialized() and ray.get_runtime_context().get_actor_id():
        # Python has written by then what it was given to print.
        atexit.register(os._exit, 0)
