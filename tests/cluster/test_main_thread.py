"""The main thread of an actor while nobody calls. What Ray does there, a round every 10 ms, is done by the test."""

import itertools
import os
import threading
import time
from collections.abc import Callable

import pytest
import ray

from cluster.main_thread import MainThread
from tests.cluster import toy
from tests.processes import wakings


def rounds(other: Callable[[MainThread], None]) -> list[float]:
    """When the main thread was awake, in seconds, while another one does this."""
    thread = MainThread(1.0)
    helper = threading.Thread(target=other, args=(thread,))
    begun, found = time.monotonic(), []
    helper.start()
    while helper.is_alive():
        time.sleep(0.01)
        found.append(time.monotonic() - begun)
    return found


def longest_gap(moments: list[float]) -> float:
    return max(later - earlier for earlier, later in itertools.pairwise(moments))


def test_it_sleeps_until_it_is_woken():
    def other(thread: MainThread) -> None:
        time.sleep(0.1)
        thread.rest()
        time.sleep(0.5)
        thread.wake()
        time.sleep(0.1)

    assert 0.4 < longest_gap(rounds(other)) < 0.9


def test_it_gets_to_its_work_once_a_second_even_so():
    def other(thread: MainThread) -> None:
        thread.rest()
        time.sleep(3.2)
        thread.wake()

    moments = rounds(other)
    assert longest_gap(moments) < 1.5
    assert len(moments) < 40


def test_resting_again_at_once_and_waking_twice_leave_it_usable():
    def other(thread: MainThread) -> None:
        for _ in range(200):
            thread.rest()
            thread.wake()
            thread.wake()
            time.sleep(0.002)

    assert longest_gap(rounds(other)) < 0.3


def test_it_does_not_sleep_where_it_is_itself_at_work():
    thread, begun = MainThread(1.0), time.monotonic()
    thread.rest()
    time.sleep(0.05)
    assert time.monotonic() - begun < 0.4
    assert thread.naps == 0


def test_made_in_another_thread_it_does_nothing():
    made: list[MainThread] = []
    helper = threading.Thread(target=lambda: made.append(MainThread(1.0)))
    helper.start()
    helper.join()
    made[0].rest()
    made[0].wake()
    assert made[0].naps == 0


@pytest.mark.usefixtures("local_ray")
def test_coordinator_and_workers_hardly_wake_up_during_a_step():
    handle = toy.coordinator(1, toy.loader(seconds=3.5), cpus=0.01)
    toy.wait_for_workers(handle, 1)
    figures = ray.get(handle.figures.remote())
    pids = [figures["pid"], *figures["workers"].values()]
    assert os.getpid() not in pids
    wanted = toy.job(11)
    toy.start(handle, wanted)
    # Whoever follows it waits for a step, which is what the coordinator goes by.
    waiting = handle.steps_done.remote(wanted.name, 0)
    time.sleep(1.5)
    before = [wakings(pid) for pid in pids]
    time.sleep(1.2)
    found = [wakings(pid) - earlier for pid, earlier in zip(pids, before, strict=True)]
    assert ray.get(waiting) == 1
    ray.get(handle.finish.remote(wanted.name))
    ray.kill(handle)
    # Ray alone would have them wake up 120 times.
    assert max(found) < 40, found
