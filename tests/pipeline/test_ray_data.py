"""Joining Ray."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from pipeline import ray_data
from pipeline.ray_data import as_they_end, connect, pool
from tests.processes import ray_workers, wakings


def test_a_cluster_that_does_not_answer_is_named_at_once(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setattr(ray, "init", lambda **options: pytest.fail("Ray was asked"))
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(RuntimeError, match=f"no Ray answers at {address} .* unset RAY_ADDRESS"):
            connect()


@pytest.mark.parametrize("answers", [False, True])
def test_a_ray_that_ran_here_and_does_not_answer_is_not_waited_for(monkeypatch, caplog, answers):
    asked: list[Any] = []
    with socket.socket() as left:
        left.bind(("127.0.0.1", 0))
        if answers:
            left.listen()
        address = f"127.0.0.1:{left.getsockname()[1]}"
        monkeypatch.setattr(ray_data, "find_bootstrap_address", lambda _: address)
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setattr(ray, "init", lambda **options: asked.append(options["address"]))
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        connect()
    assert asked == [None if answers else "local"]
    assert (f"at {address}, does not answer" in caplog.text) != answers


def test_a_ray_that_does_not_start_is_one_line(monkeypatch):
    def late(**options) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", late)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with pytest.raises(RuntimeError, match=r"timed out during startup.*; run again"):
        connect()


def test_a_ray_that_starts_at_the_third_attempt_has_started(monkeypatch):
    started = []

    def late(**options) -> None:
        started.append(options)
        if len(started) < 3:
            raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", late)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    connect()
    assert len(started) == 3


def test_what_a_process_does_at_sigterm_stays_its_own_at_every_attempt(monkeypatch):
    started = []

    def init(**options) -> None:
        started.append(signal.getsignal(signal.SIGTERM))
        signal.signal(signal.SIGTERM, lambda *_: pytest.fail("that is Ray's"))
        if len(started) < 2:
            raise Exception("The current node timed out during startup.")

    def ours(*_: object) -> None:
        pass

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    before = signal.signal(signal.SIGTERM, ours)
    try:
        connect()
        assert [*started, signal.getsignal(signal.SIGTERM)] == [ours] * 3
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_is_wrong_with_the_settings_is_not_tried_again(monkeypatch):
    started = []

    def wrong(**options) -> None:
        started.append(options)
        raise ValueError("no such option")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", wrong)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with pytest.raises(RuntimeError, match="no such option"):
        connect()
    assert len(started) == 1


@pytest.mark.parametrize("address", ["", "local", "auto", "ray://127.0.0.1:1", "localhost:a"])
def test_what_is_no_place_is_left_to_ray(monkeypatch, address):
    asked = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: asked.append(options))
    monkeypatch.setenv("RAY_ADDRESS", address)
    connect()
    assert asked


@pytest.mark.parametrize(
    ("address", "dashboard", "unwatched"),
    [("", False, True), ("local", False, True), ("", True, False), ("auto", False, False)],
)
def test_a_ray_of_our_own_keeps_no_figures_that_nobody_reads(monkeypatch, address, dashboard, unwatched):
    asked = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: asked.append(options.get("_system_config")))
    monkeypatch.setenv("RAY_ADDRESS", address)
    connect(dashboard)
    (config,) = asked
    assert (config is not None and not config["enable_metrics_collection"]) == unwatched


@pytest.mark.parametrize("chosen", [None, "50"])
def test_a_ray_of_our_own_looks_for_new_logs_twice_a_second_unless_it_is_said_otherwise(monkeypatch, chosen):
    name, seen = "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD", []
    if chosen is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, chosen)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: seen.append(os.environ[name]))
    monkeypatch.setenv("RAY_ADDRESS", "local")
    connect()
    assert seen == [chosen or "0"]


@pytest.mark.parametrize(
    ("dashboard", "chosen", "given"), [(False, None, "60000"), (False, "7", "7"), (True, None, "")]
)
def test_without_a_dashboard_its_agent_describes_processes_once_a_minute(monkeypatch, dashboard, chosen, given):
    name, seen = "REPORTER_UPDATE_INTERVAL_MS", []
    monkeypatch.setenv(name, chosen or "")  # for it to be as before when the test has ended
    if chosen is None:
        monkeypatch.delenv(name)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: seen.append(os.environ.get(name, "")))
    monkeypatch.setenv("RAY_ADDRESS", "local")
    connect(dashboard)
    assert seen == [given]


class Operator:
    """Of Ray Data's, as much as is looked at: so many of its actors are still to start."""

    def __init__(self, pending: int) -> None:
        self._pending = pending

    def get_actor_info(self) -> SimpleNamespace:
        return SimpleNamespace(pending=self._pending)


def executor(pending: int) -> SimpleNamespace:
    return SimpleNamespace(_topology={Operator(0): None, Operator(pending): None})


@pytest.fixture
def pauses(monkeypatch):
    """What the scheduler slept; each of its rounds takes a tenth of a second more."""
    now, pauses = [100.0], list[float]()

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds + 0.1

    monkeypatch.setattr(ray_data.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(ray_data.time, "sleep", sleep)
    return pauses


def test_the_scheduler_looks_round_as_seldom_as_rows_end(pauses):
    pace = ray_data.Pace()
    pace.before_execution_starts(None)
    for _ in range(40):
        pace.on_execution_step(executor(0))
    assert pauses[0] == 0.0
    assert pauses[-1] == 1.0
    # Never long beside what rows take.
    assert all(pause <= (sum(pauses[:n]) + 0.1 * n) / 4 + 1e-9 for n, pause in enumerate(pauses))
    ray_data.Pace.row_ended()
    pace.on_execution_step(executor(0))
    assert pauses[-1] == 0.0


def test_the_scheduler_does_not_pause_while_an_actor_starts(pauses):
    pace = ray_data.Pace()
    pace.before_execution_starts(None)
    for _ in range(40):
        pace.on_execution_step(executor(0))
    before = len(pauses)
    pace.on_execution_step(executor(1))
    assert len(pauses) == before
    # Its row has yet to begin.
    pace.on_execution_step(executor(0))
    assert pauses[before:] == [0.0]


def lasting(*seconds: float) -> ray.data.Dataset:
    """A row that takes so long, each for one of as many actors; it becomes the time when it ended."""

    class Sleeper:
        def __call__(self, row: dict[str, Any]) -> dict[str, float]:
            time.sleep(row["item"])
            return {"ended": time.time()}

    ray_data.configure()
    rows = ray.data.from_items(list(seconds), override_num_blocks=len(seconds))
    return rows.map(Sleeper, compute=pool(len(seconds)), num_cpus=0)


def end_named(name: str, namespace: str) -> None:
    """End the actor of that name, if there is one, and wait until it has ended."""
    with suppress(ValueError):
        while True:
            ray.kill(ray.get_actor(name, namespace))
            time.sleep(0.1)


@pytest.mark.usefixtures("local_ray")
def test_blocks_come_as_they_end_and_ray_datas_idle_actors_rest_in_a_ray_of_our_own(monkeypatch):
    monkeypatch.setattr(ray_data, "_of_our_own", True)
    end_named(*ray_data._TRACKER)  # of a test before, to which this Ray was not its own
    blocks = as_they_end(lasting(0.2, 3.0, 6.5))
    first, seen = next(blocks)["ended"][0].as_py(), time.time()
    assert seen < first + 1.5
    time.sleep(1.0)
    names = ("_StatsActor", "_AutoscalingCoordinatorActor", "ActorLocationTracker")
    idle = [process.pid for name in names for process in ray_workers(name)]
    assert len(idle) == 3
    before = [wakings(pid) for pid in idle]
    time.sleep(1.0)
    found = [wakings(pid) - earlier for pid, earlier in zip(idle, before, strict=True)]
    # Ray alone would have them wake up 100 times.
    assert max(found) < 60, found
    seen = [time.time() for _ in blocks]
    assert seen[1] - seen[0] > 0.7


@pytest.mark.usefixtures("local_ray")
def test_nobody_looks_for_a_further_block_while_none_can_be_there(monkeypatch):
    looked: list[float] = []
    dataset = lasting(0.1, 2.0)
    bundles = dataset.iter_internal_ref_bundles

    def watched() -> Iterator[Any]:
        for bundle in bundles():
            yield bundle
            looked.append(time.time())

    monkeypatch.setattr(dataset, "iter_internal_ref_bundles", watched)
    _, second = (block["ended"][0].as_py() for block in as_they_end(dataset))
    assert looked[0] > second


@pytest.mark.usefixtures("local_ray")
def test_what_ends_the_whole_run_is_raised():
    dataset = lasting(0.1)
    dataset.context.max_errored_blocks = 0
    broken = dataset.map(lambda row: row["missing"], num_cpus=0)
    with pytest.raises(ray.exceptions.RayTaskError, match="missing"):
        list(as_they_end(broken))


def test_a_scheduler_that_has_died_is_not_waited_for(monkeypatch):
    ended = threading.Thread(target=lambda: None)
    ended.start()
    ended.join()
    monkeypatch.setattr(ray_data.Pace, "_executor", ended)
    ray_data.Pace.wait()


def test_actors_that_others_use_too_are_left_alone(monkeypatch):
    monkeypatch.setattr(ray_data, "_of_our_own", False)
    monkeypatch.setattr(ray, "get_actor", lambda *place: pytest.fail(f"{place} was asked"))
    ray_data._rest_beside_rows()


@pytest.mark.parametrize(("address", "ours"), [("local", True), ("auto", False)])
def test_whether_a_ray_is_our_own_is_known(monkeypatch, address, ours):
    monkeypatch.setattr(ray_data, "_of_our_own", not ours)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: None)
    monkeypatch.setenv("RAY_ADDRESS", address)
    connect()
    assert ray_data._of_our_own == ours
