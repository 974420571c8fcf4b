"""The process that forks decoders: lost at any time, without a video being lost with it."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from pipeline.decoding import fork_server
from pipeline.video import VideoError, read_frames
from tests.pipeline.clips import write_moving


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_moving(tmp_path_factory.mktemp("clips") / "moving.mp4", 60, size="640x480")


def servers() -> dict[str, psutil.Process]:
    """By library. Those that other tests started by other commands are not meant, and may have ended."""
    commands = {(*fork_server.DECODER_COMMAND, library): library for library in fork_server.LIBRARIES}
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return {commands[tuple(child.cmdline())]: child for child in alive if tuple(child.cmdline()) in commands}


def test_videos_are_read_by_forks_of_the_same_servers(clip):
    with read_frames(clip) as frames:
        assert len(list(frames)) == 60
    before = servers()

    with read_frames(clip) as frames:
        assert len(list(frames)) == 60

    assert servers() == before
    assert not [child for server in before.values() for child in server.children()]


def test_servers_that_were_killed_meanwhile_are_replaced(clip):
    with read_frames(clip) as frames:
        list(frames)
    before = servers()
    for server in before.values():
        server.kill()

    with read_frames(clip) as frames:
        assert len(list(frames)) == 60

    assert not set(before.values()) & set(servers().values())


def test_decoders_that_lose_their_server_end_and_the_video_is_read_by_the_other(clip, caplog):
    with read_frames(clip) as frames:
        first = next(frames)
        assert frames.decoder == "decord"
        server = servers()["decord"]
        (reader,) = server.children()
        server.kill()
        reader.kill()
        rest = list(frames)

    assert frames.decoder == "PyAV"
    assert [frame.index for frame in (first, *rest)] == list(range(60))
    assert "does not answer" in caplog.text or "has ended" in caplog.text


def test_a_server_that_cannot_start_is_said(clip, monkeypatch):
    monkeypatch.setattr(fork_server, "DECODER_COMMAND", ("/bin/false",))

    with pytest.raises(VideoError, match="could not be started"):
        read_frames(clip)


def test_two_threads_read_at_once(clip):
    counts: list[int] = []

    def read() -> None:
        with read_frames(clip) as frames:
            counts.append(sum(1 for _ in frames))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counts == [60] * 4


def test_a_fork_of_this_process_starts_servers_of_its_own(clip):
    with read_frames(clip) as frames:
        list(frames)
    before = servers()

    pid = os.fork()
    if pid == 0:
        try:
            with read_frames(clip) as frames:
                whole = len(list(frames)) == 60
            os._exit(0 if whole and servers() else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert servers() == before
    with read_frames(clip) as frames:
        assert len(list(frames)) == 60
    assert all(server.is_running() and server.status() != psutil.STATUS_ZOMBIE for server in before.values())


@pytest.mark.parametrize(
    ("task", "module"), [("probe", "probe"), ("PyAV", "with_pyav"), ("decord", "with_decord")], ids=lambda name: name
)
def test_children_import_nothing(clip, task, module):
    """What they need is there when they are forked: imported in each, it would take longer than a header's reading."""
    script = f"""
import sys
import pipeline.decoding.{module}
from pipeline.decoding.process import _work
from pipeline.video import VideoLimits, _probe
from pathlib import Path
import numpy as np

class Deaf:
    def send(self, kind, payload=b""): pass
    def tick(self): pass

index, _ = _probe(Path(sys.argv[1]), VideoLimits(), 60)
arrays = index.timestamps, np.arange(5)
before = set(sys.modules)
_work(index.request | {{"task": "{task}", "first": 0}}, arrays, Deaf())
print(sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", script, str(clip)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stdout


def test_a_picture_is_decoded_into_the_memory_of_those_before(tmp_path):
    clip = write_moving(tmp_path / "moving.ts", 60, size="1130x1080")

    def pages_handed_out() -> int:
        facts = Path(f"/proc/{servers()['PyAV'].pid}/stat").read_text().rpartition(")")[2].split()
        return int(facts[8])  # cminflt: of children that have ended

    with read_frames(clip) as frames:
        next(frames)
        assert frames.decoder == "PyAV"
    before = pages_handed_out()
    with read_frames(clip) as frames:
        shown = sum(1 for _ in frames)
    # A picture has 894 pages, and is there in two copies, as its rows are not of a round length.
    handed_out = (pages_handed_out() - before) / shown
    assert handed_out < 894
