"""How a process of an actor ends, in a real Ray."""

from __future__ import annotations

import atexit
import os
import sys
import time
from pathlib import Path

import psutil
import pytest
import ray

from cluster.exiting import exit_at_once

pytestmark = pytest.mark.usefixtures("local_ray")


class Actor:
    """Its process stays for ten minutes once Python clears up, as Ray's do that wait for themselves."""

    def __init__(self) -> None:
        atexit.register(time.sleep, 600)
        exit_at_once()

    def process(self) -> int:
        return os.getpid()

    def say(self, path: Path) -> None:
        sys.stdout = path.open("w")
        print("last words")


def test_an_actor_that_nobody_needs_any_more_is_gone_and_what_it_said_is_not_lost(tmp_path):
    actor = ray.remote(num_cpus=0)(Actor).remote()
    process = psutil.Process(ray.get(actor.process.remote()))
    ray.get(actor.say.remote(tmp_path / "said.txt"))
    assert (tmp_path / "said.txt").read_text() == ""
    del actor
    process.wait(60)
    assert (tmp_path / "said.txt").read_text() == "last words\n"


def test_any_other_process_ends_as_always(monkeypatch):
    registered = []
    monkeypatch.setattr(atexit, "register", lambda *call: registered.append(call))
    exit_at_once()
    assert not registered
