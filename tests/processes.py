"""Processes that this one has started, for tests that kill them. Those of tests beside it are left alone."""

from __future__ import annotations

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
