"""Workers, coordinators and nodes that end in the middle: the bits of an undisturbed video, and a word about it."""

import functools
import logging
import os
import signal
import time

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster

from cluster.own_node import own_node
from cluster.pool import WorkersUnusable
from cluster.snapshots import Snapshots
from cluster.video_run import KillsWorkers
from pipeline.storage import Storage
from tests.cluster import toy
from tests.conftest import start_local_ray


@pytest.fixture(scope="module")
def cluster():
    """One node with two cores, to which tests may add others, in place of the session's Ray."""
    others_wait = ray.is_initialized()
    ray.shutdown()
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    ray.init(address=found.address, log_to_driver=True, logging_level=logging.ERROR)
    yield found
    ray.shutdown()
    found.shutdown()
    if others_wait:
        start_local_ray()


@pytest.fixture
def said(cluster, capfd):
    """What the coordinator has logged, as soon as it has arrived here."""

    def wait_for(*words: str) -> str:
        text, deadline = "", time.monotonic() + 20
        while time.monotonic() < deadline:
            text += "".join(capfd.readouterr())
            if all(word in text for word in words):
                return text
            time.sleep(0.2)
        raise AssertionError(f"{words} not in {text}")

    return wait_for


def killed_at(moments: dict[int, int], handle, which: int = 0):
    """At each of these steps a worker is killed, as many times as are said."""
    left = dict(moments)

    def on_step(done: int) -> None:
        if left.get(done, 0):
            left[done] -= 1
            # In the middle of a window rather than between two.
            time.sleep(0.05)
            workers = sorted(toy.pids(handle).values())
            os.kill(workers[which % len(workers)], signal.SIGKILL)

    return on_step


@pytest.mark.parametrize("fusion", ["progressive", pytest.param("shifted", marks=pytest.mark.soak)])
def test_a_worker_killed_in_a_step_costs_nothing_but_time(cluster, said, fusion):
    handle = toy.coordinator(2, toy.loader(seconds=0.15))
    toy.wait_for_workers(handle, 2)
    wanted = toy.job(40, fusion=fusion)
    toy.start(handle, wanted)
    toy.follow(handle, wanted, killed_at({1: 1, 3: 1}, handle))
    np.testing.assert_array_equal(toy.fetch(handle, wanted), toy.in_one_loop(wanted))
    windows = sum(len(plan.windows) for plan in wanted.plans)
    # No step was begun again: each window-step counts once.
    assert ray.get(handle.figures.remote())["window_steps"] == windows
    assert "its calls are given to others" in said("was lost")
    ray.kill(handle)


def test_a_line_that_breaks_costs_nothing_as_the_worker_is_still_there(cluster, said, tmp_path):
    # In the middle of a call: of its two messages one has come.
    handle = toy.coordinator(2, functools.partial(toy.cut_off, toy.loader(seconds=0.1), tmp_path, 3))
    toy.wait_for_workers(handle, 2)
    pids, wanted = toy.pids(handle), toy.job(40)
    toy.start(handle, wanted)
    toy.follow(handle, wanted)
    np.testing.assert_array_equal(toy.fetch(handle, wanted), toy.in_one_loop(wanted))
    assert toy.pids(handle) == pids
    # That steps go by lines at all is seen by their having been used.
    assert {int(path.name) for path in tmp_path.iterdir()} == set(pids.values())
    said("the line to worker", "Ray calls it from now on")
    ray.kill(handle)


@pytest.mark.parametrize("step", [2, toy.STEPS], ids=["between steps", "after the last"])
def test_what_a_killed_worker_had_not_left_on_its_node_yet_is_made_again(cluster, said, step):
    # Two windows for two workers. A quarter of a window passes before the largest part is left: more than until the
    # worker is killed.
    handle = toy.coordinator(2, toy.loader(seconds=1.0))
    toy.wait_for_workers(handle, 2)
    wanted = toy.job(19)
    toy.start(handle, wanted)
    toy.follow(handle, wanted, killed_at({step: 1}, handle))
    np.testing.assert_array_equal(toy.fetch(handle, wanted), toy.in_one_loop(wanted))
    assert ray.get(handle.figures.remote())["window_steps"] == sum(len(plan.windows) for plan in wanted.plans)
    said("latents were lost with worker", "making them again")
    ray.kill(handle)


def test_what_the_only_worker_of_a_node_has_left_there_is_fetched(cluster, said):
    other = cluster.add_node(num_cpus=2)
    # More than half a node each, so that both nodes have one.
    handle = toy.coordinator(2, toy.loader(seconds=0.3), cpus=1.5)
    toy.wait_for_workers(handle, 2)
    wanted = toy.job(40)
    toy.start(handle, wanted)

    def on_step(done: int) -> None:
        if done == 3 and len(toy.pids(handle)) == 2:
            # What was left is there by now, and another worker takes longer to start than the one on the other node
            # takes to want it.
            time.sleep(0.2)
            os.kill(max(toy.pids(handle).values()), signal.SIGKILL)

    toy.follow(handle, wanted, on_step)
    np.testing.assert_array_equal(toy.fetch(handle, wanted), toy.in_one_loop(wanted))
    # No step was begun again.
    assert ray.get(handle.figures.remote())["window_steps"] == sum(len(plan.windows) for plan in wanted.plans)
    said("was lost")
    ray.kill(handle)
    cluster.remove_node(other)


def test_a_worker_killed_while_it_decodes(cluster, said):
    handle = toy.coordinator(2, toy.loader(seconds=0.1))
    toy.wait_for_workers(handle, 2)
    wanted = toy.job(60)
    toy.start(handle, wanted)
    toy.follow(handle, wanted)
    killed = []

    def on_chunk(number: int) -> None:
        if number == 1:
            killed.append(sorted(toy.pids(handle).values())[0])
            os.kill(killed[0], signal.SIGKILL)

    np.testing.assert_array_equal(toy.fetch(handle, wanted, on_chunk), toy.in_one_loop(wanted))
    said(f"process {killed[0]}", "was lost")
    ray.kill(handle)


def test_a_worker_killed_while_it_loads(cluster, said, tmp_path):
    load = functools.partial(toy.marked, toy.loader(), tmp_path, 2.0)
    handle = toy.coordinator(2, load)
    wanted = toy.job(30)
    toy.start(handle, wanted)
    while not (loading := list(tmp_path.iterdir())):
        time.sleep(0.05)
    os.kill(int(loading[0].name), signal.SIGKILL)
    toy.follow(handle, wanted)
    np.testing.assert_array_equal(toy.fetch(handle, wanted), toy.in_one_loop(wanted))
    said("was lost while it loaded")
    assert len(toy.wait_for_workers(handle, 2)) == 2
    ray.kill(handle)


def test_a_window_that_kills_its_worker_three_times_ends_its_video_and_the_pool_lives_on(cluster, said):
    handle = toy.coordinator(2, toy.loader(seconds=0.02, deadly=("bad", 33)))
    bad, good = toy.job(40, "bad"), toy.job(30, "good")
    toy.start(handle, bad)
    toy.start(handle, good)
    with pytest.raises(KillsWorkers, match="ended its worker's process 3 times"):
        toy.follow(handle, bad)
    toy.follow(handle, good)
    np.testing.assert_array_equal(toy.fetch(handle, good), toy.in_one_loop(good))
    said("was lost", "of bad")
    ray.kill(handle)


def test_workers_that_cannot_load_are_one_clear_error(cluster):
    handle = toy.coordinator(2, functools.partial(_refuse, "weights.safetensors: 3 tensors are missing"))
    wanted = toy.job(30)
    toy.start(handle, wanted)
    with pytest.raises(WorkersUnusable, match="3 tensors are missing"):
        toy.follow(handle, wanted)
    ray.kill(handle)


def test_a_worker_that_cannot_load_is_replaced_as_long_as_others_can(cluster, said, tmp_path):
    """The third and fourth: those that are started for one that is killed."""
    handle = toy.coordinator(2, functools.partial(toy.refusing, toy.loader(seconds=0.05), tmp_path, 2, 3))
    toy.wait_for_workers(handle, 2)
    wanted = toy.job(60)
    toy.start(handle, wanted)
    toy.follow(handle, wanted, killed_at({2: 1}, handle))
    np.testing.assert_array_equal(toy.fetch(handle, wanted), toy.in_one_loop(wanted))
    said("could not load (there is no GPU here): starting another")
    assert len(toy.wait_for_workers(handle, 2)) == 2
    ray.kill(handle)


@pytest.mark.soak
def test_workers_that_die_loading_are_given_up(cluster):
    handle = toy.coordinator(2, functools.partial(os._exit, 1))
    wanted = toy.job(30)
    toy.start(handle, wanted)
    with pytest.raises(WorkersUnusable, match="died while they loaded"):
        toy.follow(handle, wanted)
    ray.kill(handle)


def test_a_killed_coordinator_is_restarted_and_the_video_goes_on_from_its_snapshot(cluster, said, tmp_path):
    handle = toy.coordinator(2, toy.loader(seconds=0.1))
    wanted = toy.job(40, snapshots=Snapshots(Storage(str(tmp_path)), "state/video"))
    toy.start(handle, wanted)
    first = ray.get(handle.figures.remote())["pid"]

    class Enough(Exception):
        pass

    def stop(done: int) -> None:
        if done == 5:
            raise Enough

    with pytest.raises(Enough):
        toy.follow(handle, wanted, stop)
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while True:
        try:
            toy.start(handle, wanted)
            break
        except ray.exceptions.RayActorError:
            assert time.monotonic() < deadline
            time.sleep(0.5)
    steps = []
    toy.follow(handle, wanted, steps.append)
    assert 1 not in steps
    np.testing.assert_array_equal(toy.fetch(handle, wanted), toy.in_one_loop(wanted))
    said("going on after step")
    ray.kill(handle)


def test_a_node_that_is_removed_costs_the_steps_since_the_last_snapshot(cluster, said, tmp_path):
    other = cluster.add_node(num_cpus=2)
    # More than half a node each, so that both nodes have one.
    handle = toy.coordinator(2, toy.loader(seconds=0.15), cpus=1.5)
    toy.wait_for_workers(handle, 2)
    wanted = toy.job(40, snapshots=Snapshots(Storage(str(tmp_path)), "state/video"))
    toy.start(handle, wanted)
    removed = []

    def on_step(done: int) -> None:
        if done == 4 and not removed:
            removed.append(done)
            time.sleep(0.1)
            cluster.remove_node(other)

    toy.follow(handle, wanted, on_step)
    np.testing.assert_array_equal(toy.fetch(handle, wanted), toy.in_one_loop(wanted))
    assert removed
    said("with its node")
    ray.kill(handle)


def _refuse(message: str) -> None:
    raise ValueError(message)


def test_what_a_job_cannot_do_without_stays_with_it(cluster):
    others = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()

    @ray.remote(num_cpus=0)
    class Where:
        def node(self) -> str:
            return str(ray.get_runtime_context().get_node_id())

    handles = [Where.options(scheduling_strategy=own_node()).remote() for _ in range(6)]
    assert set(ray.get([handle.node.remote() for handle in handles])) == {ray.get_runtime_context().get_node_id()}
    for handle in handles:
        ray.kill(handle)
    for node in others:
        cluster.remove_node(node)
