from __future__ import annotations

import os
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from pipeline import extraction_stage
from pipeline.extraction import Sampling
from pipeline.extraction_stage import ExtractPoses, Ledger, _digest
from pipeline.inputs import InputError
from pipeline.listing import Video
from tests.processes import wakings


def test_a_file_that_cannot_be_read_is_an_input_error_since_its_poses_are_not_to_blame(tmp_path):
    # Root may read every file, but no folder.
    with pytest.raises(InputError, match=r"/clips/a.mp4 cannot be read \(Is a directory\)"):
        _digest(tmp_path, "/clips/a.mp4")


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(("where", "stage", "known"), [("_digest", "fetch", False), ("read_frames", "poses", True)])
def test_what_fails_before_the_contents_are_known_says_nothing_of_them(tmp_path, monkeypatch, where, stage, known):
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(extraction_stage, where, fail)
    monkeypatch.setattr(extraction_stage, "fingerprint", lambda *_: "mark")
    (tmp_path / "a.mp4").write_bytes(b"anything")
    video = Video(str(tmp_path / "a.mp4"), "1", 1, {})
    worker, ledger = ExtractPoses.__new__(ExtractPoses), ray.remote(Ledger).options(num_cpus=0).remote(set())
    worker._unusable, worker._ledger, worker._estimator = None, ledger, SimpleNamespace()
    worker._reporter = SimpleNamespace(finish=lambda *_: None)
    worker._request = SimpleNamespace(sampling=Sampling(15.0), deadline_s=1.0)
    outcome: Any = worker._outcome(video)
    assert (outcome.stage, outcome.message) == (stage, "no room")
    attempts, read = ray.get(ledger.next_pass.remote())
    assert attempts == {video.uri: 1}
    assert read == ({video.uri} if known else set())
    ray.kill(ledger)


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
