from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest
import ray

from pipeline.extraction_stage import ExtractPoses, Ledger
from pipeline.inputs import InputError
from pipeline.listing import Video
from tests.processes import wakings


def test_a_file_that_cannot_be_read_is_an_input_error_since_its_poses_are_not_to_blame(tmp_path):
    # Root may read every file, but no folder.
    stage = ExtractPoses.__new__(ExtractPoses)
    with pytest.raises(InputError, match=r"/clips/a.mp4 cannot be read \(Is a directory\)"):
        stage._finished(Video("/clips/a.mp4", "1", 1, {}), tmp_path)


def test_the_main_thread_rests_as_long_as_no_further_video_can_be_taken():
    told: list[str] = []
    stage = ExtractPoses.__new__(ExtractPoses)
    stage._main = type("Main", (), {"rest": lambda _: told.append("rest"), "wake": lambda _: told.append("wake")})()
    stage._at_once, stage._in_hand = 2, set()
    inside, leave = threading.Barrier(2), threading.Event()

    def other() -> None:
        with stage._taken():
            inside.wait(10)
            leave.wait(10)

    with stage._taken():
        assert told == []
        second = threading.Thread(target=other)
        second.start()
        inside.wait(10)
        assert told == ["rest"]
        leave.set()
        second.join()
        assert told == ["rest", "wake"]


@pytest.mark.usefixtures("local_ray")
def test_the_ledger_hardly_wakes_up_except_where_somebody_begins_a_video_who_is_answered_at_once():
    ledger: Any = ray.remote(Ledger).options(num_cpus=0).remote(set())
    pid = ray.get(ledger.__ray_call__.remote(lambda _: os.getpid()))
    time.sleep(2.5)
    before = wakings(pid)
    time.sleep(1.2)
    # Ray alone would have it wake up 120 times.
    assert wakings(pid) - before < 40
    assert ray.get(ledger.begin.remote("first"))
    waited = 0.0
    for number in range(8):
        time.sleep(0.07)
        asked = time.monotonic()
        assert ray.get(ledger.claim.remote(f"mark {number}", "first")) is None
        waited += time.monotonic() - asked
    ray.kill(ledger)
    # Asleep most of the time it would take an eighth of a second for each.
    assert waited < 0.5
