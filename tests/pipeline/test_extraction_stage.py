from __future__ import annotations

import threading

import pytest

from pipeline.extraction_stage import ExtractPoses
from pipeline.inputs import InputError
from pipeline.listing import Video


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
