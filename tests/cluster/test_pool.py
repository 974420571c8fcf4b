"""What the pool makes of workers that Ray has killed because their node had no memory left."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import ray
from ray.exceptions import OutOfMemoryError, RayError, RuntimeEnvSetupError

from cluster import pool as module
from cluster.pool import InputGone, Pool, Worker, WorkerGone, WorkersUnusable


class _Worker:
    """Loads nothing."""

    def load(self) -> tuple[str, int]:
        return ray.get_runtime_context().get_node_id(), os.getpid()


def make() -> Any:
    remote = ray.remote(**{"concurrency_groups": {"keep": 1}})(_Worker)  # type: ignore[call-overload]
    return remote.options(num_cpus=0.1, max_restarts=0).remote()


async def out_of_memory() -> None:
    raise OutOfMemoryError("Task was killed due to the node running low on memory.")


async def ask(pool: Pool, submit: Callable[[Worker], list[Any]]) -> None:
    await pool.run("video", "step", 0, submit, None)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.05)


def test_a_worker_that_was_killed_for_its_memory_is_replaced(local_ray):
    def killed(worker: Worker) -> list[Any]:
        os.kill(worker.pid, signal.SIGKILL)
        return [out_of_memory()]

    async def scenario() -> None:
        pool = Pool(make, lambda: 1, "run")
        pool.start()
        with pytest.raises(WorkerGone) as gone:
            await ask(pool, killed)
        assert gone.value.guilty
        await until(lambda: pool.numbers == [2])

    asyncio.run(scenario())


def test_a_worker_whose_input_went_with_another_stays(local_ray):
    async def scenario() -> None:
        pool = Pool(make, lambda: 1, "run")
        pool.start()
        with pytest.raises(InputGone):
            await ask(pool, lambda _: [out_of_memory()])
        assert pool.numbers == [1]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OutOfMemoryError("low on memory"), "3 workers died while they loaded the networks; out of memory"),
        (RuntimeEnvSetupError("no such package"), "no such package"),
    ],
)
def test_workers_that_never_get_ready_end_the_wait(local_ray, monkeypatch, error: RayError, reason):
    class Load:
        async def remote(self) -> None:
            raise error

    class Handle:
        load = Load()

    killed = []
    monkeypatch.setattr(module.ray, "kill", killed.append)
    monkeypatch.setattr(Pool, "_pause", lambda _: 0.0)

    async def scenario() -> None:
        pool = Pool(Handle, lambda: 1, "run")
        pool.start()
        async with asyncio.timeout(30):
            with pytest.raises(WorkersUnusable, match=reason):
                await ask(pool, lambda _: [])

    asyncio.run(scenario())
    assert len(killed) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_a_call_that_nobody_waits_for_any_more_holds_up_no_other(workers):
    asked: list[int] = []
    wrong: list[Any] = []

    def answer(worker: Worker) -> list[Any]:
        asked.append(worker.number)
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return [done]

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
        pool = Pool(make, lambda: 0, "run")
        pool._ready = {number: Worker(number, None) for number in range(workers)}
        first, second = (asyncio.create_task(ask(pool, answer)) for _ in range(2))
        await asyncio.sleep(0)
        # What it waited for is cancelled at once, that it has gone is seen in the next turn of the loop.
        first.cancel()
        if not workers:
            pool._break(WorkersUnusable("none"))
            with pytest.raises(WorkersUnusable):
                await second
        else:
            await asyncio.wait_for(second, 10)
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(scenario())
    assert asked == [0] * workers
    assert not wrong
