"""Processes that this one has started, for tests that kill them. Those of tests beside it are left alone."""

from __future__ import annotations

from contextlib import suppress

import psutil


def ray_workers(name: str) -> list[psutil.Process]:
    """The workers of this process's Ray that do what has ``name``: an actor's class or an operator's name."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:  # it has ended meanwhile
            continue
    return found


def kill_with_descendants(pid: int) -> None:
    """Kill a process and all that it has started and that has not ended meanwhile."""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return
    for each in [*process.children(recursive=True), process]:
        with suppress(psutil.NoSuchProcess):
            each.kill()


def wakings(pid: int) -> int:
    """How often a process's main thread has gone to sleep so far, and been woken."""
    return int(psutil.Process(pid).num_ctx_switches().voluntary)  # of the main thread alone, on Linux
