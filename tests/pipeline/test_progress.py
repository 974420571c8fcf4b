import pytest

from pipeline.progress import EXTRACTION, Display, Status


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("pipeline.progress.time", clock)
    return clock


def test_the_line_says_what_is_done_at_work_and_left(clock):
    display = Display(None, total=4)
    display.count(failed=False)
    display.count(failed=True)
    clock.now = 100
    line = display.line(Status({"a": ("step", 5, 10)}, frames=300))
    assert line.startswith("2/4 videos · 1 quarantined · a: step 5/10 · 3.0 frames/s · ")
    # Two rows and 0.2 + 0.5 / 2 of a third, of four, in 100 s.
    assert line.endswith("0:01:03 left")


def test_frames_of_videos_at_work_count_when_they_are_made(clock):
    display = Display(None, total=4)
    clock.now = 100
    status = Status({"a": ("frame", 60, 100), "b": ("poses", 500, 600)}, frames=140)
    assert " · 2.0 frames/s" in display.line(status)
    display = Display(None, total=4, stages=EXTRACTION)
    clock.now = 200
    assert " · 6.4 frames/s" in display.line(Status({"b": ("poses", 500, 600)}, frames=140))


def test_before_anything_is_done_no_time_is_promised(clock):
    assert Display(None, total=4).line(Status()) == "0/4 videos"
