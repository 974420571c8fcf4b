"""How jobs end, for whoever started them."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from ray.exceptions import WorkerCrashedError

from jobs.arguments import FAILED, OK
from jobs.exit_codes import exit_code

ROOT = Path(__file__).parents[2]


def test_a_name_that_is_no_utf_8_is_told_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "utf-8"))

    def work() -> int:
        print("done, in /data/run\udcff")
        return OK

    assert exit_code(work) == OK
    sys.stdout.flush()
    assert out.getvalue() == b"done, in /data/run\\udcff\n"


def test_a_lost_cluster_is_one_line(capsys) -> None:
    def work() -> int:
        raise WorkerCrashedError

    assert exit_code(work) == FAILED
    error = capsys.readouterr().err
    assert error.startswith("error: Ray failed (WorkerCrashedError: ")
    assert error.count("\n") == 1


@pytest.fixture
def keyboard() -> Iterator[None]:
    """Python hears the keyboard, though the tests run in the background, where shells have it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("keyboard")
@pytest.mark.parametrize(("by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_is_one_line_and_what_was_held_is_given_back(capsys, by, code) -> None:
    held, before = ["output"], signal.getsignal(signal.SIGTERM)

    def work() -> int:
        try:
            os.kill(os.getpid(), by)
            time.sleep(60)
        finally:
            held.clear()
        return OK

    assert exit_code(work) == code
    assert capsys.readouterr().err == "interrupted; the same command goes on from what is finished\n"
    assert not held
    assert signal.getsignal(signal.SIGTERM) == before


def test_work_in_another_thread_is_done_as_well() -> None:
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(exit_code, lambda: OK).result() == OK


JOB = """
import sys, time
from jobs.exit_codes import exit_code
from pipeline.ray_data import connect

def work():
    connect()
    print("joined", flush=True)
    time.sleep(60)

sys.exit(exit_code(work))
"""


def test_with_a_ray_of_its_own_too() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": "local"}
    job = subprocess.Popen(
        [sys.executable, "-c", JOB], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert job.stdout is not None
    assert job.stdout.readline() == "joined\n"
    started = psutil.Process(job.pid).children(recursive=True)
    job.terminate()
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 143
    assert errors.splitlines()[-1] == "interrupted; the same command goes on from what is finished"
    assert "***" not in errors
    assert started
    assert not psutil.wait_procs(started, 30)[1]
