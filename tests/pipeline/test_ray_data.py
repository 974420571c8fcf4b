"""Joining Ray."""

import os
import socket
from types import SimpleNamespace

import pytest
import ray

from pipeline import ray_data
from pipeline.ray_data import connect


def test_a_cluster_that_does_not_answer_is_named_at_once(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setattr(ray, "init", lambda **options: pytest.fail("Ray was asked"))
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(RuntimeError, match=f"no Ray answers at {address} .* unset RAY_ADDRESS"):
            connect()


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
