"""Decoders that crash, hang and are left behind. The child is the real one, made to fail at a chosen frame."""

import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline import video
from pipeline.decoding import client, fork_server
from pipeline.video import VideoError, VideoLimits, probe_video, read_frames
from tests.pipeline.clips import write_moving

needs_decord = pytest.mark.skipif(find_spec("decord") is None, reason="decord has no wheel for this machine")

_FAILING_CHILD = """
import os, signal, sys, time
from pipeline.decoding import process, protocol

send, frames = protocol.Channel.send, 0

def failing_send(channel, kind, payload=b""):
    global frames
    frames += kind == protocol.FRAME
    if {condition}:
        {deed}
    send(channel, kind, payload)

protocol.Channel.send = failing_send
process.main()
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_moving(tmp_path_factory.mktemp("clips") / "moving.mp4", 20)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    def make(condition: str, deed: str) -> None:
        code = _FAILING_CHILD.format(condition=condition, deed=deed)
        monkeypatch.setattr(fork_server, "DECODER_COMMAND", (sys.executable, "-P", "-c", code))

    return make


def children() -> set[int]:
    """Those that have a file to read."""
    servers = [
        process
        for process in psutil.Process().children()
        if "decord" in process.cmdline()[-1:] or "PyAV" in process.cmdline()[-1:]
    ]
    return {reader.pid for server in servers for reader in server.children()}


@needs_decord
@pytest.mark.parametrize(
    ("deed", "said", "fps"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV", None),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV", 40),
        ("raise ValueError('no more')", "no more", None),
        ("channel._socket.sendall(b'not a message at all')", "were due", None),
        ("time.sleep(600)", "no sign of life for 2 s", None),
    ],
)
def test_pyav_goes_on_after_the_frames_that_decord_delivered(clip, failing, caplog, deed, said, fps):
    with read_frames(clip, fps) as frames:
        undisturbed = list(frames)
        assert frames.decoder == "decord"
    failing("'decord' in sys.modules and frames > 7", deed)

    with read_frames(clip, fps, deadline_s=2.0) as frames:
        disturbed = list(frames)

    assert frames.decoder == "PyAV"
    assert [frame.index for frame in disturbed] == [frame.index for frame in undisturbed]
    assert [frame.pts_s for frame in disturbed] == [frame.pts_s for frame in undisturbed]
    for ours, theirs in zip(disturbed, undisturbed, strict=True):
        np.testing.assert_array_equal(ours.pixels, theirs.pixels)
    assert said in caplog.text
    assert "PyAV goes on after" in caplog.text


def test_where_both_decoders_crash_the_error_names_file_and_causes(clip, failing):
    failing("frames > 3", "os.kill(os.getpid(), signal.SIGSEGV)")

    with pytest.raises(VideoError) as failure, read_frames(clip) as frames:
        list(frames)

    assert str(clip) in str(failure.value)
    assert "PyAV: was killed by SIGSEGV" in str(failure.value)
    assert not children()


def test_a_header_that_crashes_or_hangs_the_reader_is_a_video_error(clip, failing):
    failing("kind == protocol.INFO", "os.abort()")
    with pytest.raises(VideoError, match="killed by SIGABRT"):
        probe_video(clip)

    failing("kind == protocol.INFO", "time.sleep(600)")
    with pytest.raises(VideoError, match=r"no sign of life for 1\.5 s"):
        probe_video(clip, deadline_s=1.5)
    assert not children()


def test_what_a_crashing_child_said_last_is_in_the_error(clip, failing):
    failing("kind == protocol.INFO", "print('assertion failed in demuxer', file=sys.stderr, flush=True); os._exit(3)")

    with pytest.raises(VideoError, match=r"exit code 3 \(assertion failed in demuxer\)"):
        probe_video(clip)


def test_slow_work_that_reports_life_is_not_taken_for_a_hang(clip, failing):
    failing("kind == protocol.INFO", "[(time.sleep(0.4), send(channel, protocol.TICK)) for _ in range(6)]")

    assert probe_video(clip, deadline_s=2.0).frames == 20


@pytest.mark.parametrize("end", ["leave", "raise", "close"])
def test_no_process_is_left_when_reading_ends_early(clip, end):
    with suppress(ZeroDivisionError), read_frames(clip) as frames:
        next(frames)
        assert children()
        if end == "raise":
            raise ZeroDivisionError
        if end == "close":
            frames.close()
            with pytest.raises(StopIteration):
                next(frames)

    assert not children()


def test_pyav_reads_in_the_process_that_has_looked_at_the_file(clip):
    with read_frames(clip, 3) as frames:
        assert frames.decoder == "PyAV"
        found = children()
        assert len(found) == 1
        next(frames)
        assert children() == found


def test_no_process_is_left_of_a_video_whose_frames_are_not_asked_for(clip):
    with pytest.raises(VideoError, match="more than 30 frames"):
        read_frames(clip, 100, limits=VideoLimits(max_frames=30))
    probe_video(clip)
    with read_frames(clip, 3):
        pass
    with suppress(ZeroDivisionError), read_frames(clip):
        assert not children()  # decord's begins with the first frame
        raise ZeroDivisionError
    assert not children()


@pytest.mark.parametrize("kept", ["0", "1000"])
def test_a_child_that_cuts_the_memory_of_its_frames_short_is_a_video_error(clip, failing, kept):
    files = "os.path.realpath('/proc/self/fd/' + fd)"
    cut = f"[os.ftruncate(int(fd), {kept}) for fd in os.listdir('/proc/self/fd') if 'memfd:frames' in {files}]"
    say = "channel._socket.sendall(protocol.HEADER.pack(kind, payload.nbytes))"
    failing("frames == 4", f"{cut}; {say}; time.sleep(600)")

    with pytest.raises(VideoError, match="took away the memory"):
        with read_frames(clip, stride=2) as frames:
            list(frames)
    assert not children()


@pytest.mark.parametrize("size", ["2x2", "640x480", "3840x2160"])
def test_a_reader_that_falls_behind_gets_every_picture_as_it_was(tmp_path, size):
    clip = write_moving(tmp_path / "moving.ts", 12, size=size)
    with read_frames(clip) as frames:
        assert frames.decoder == "PyAV"
        at_once = [frame.pixels.copy() for frame in frames]
    with read_frames(clip) as frames:
        late = []
        for frame in frames:
            time.sleep(0.02)
            late.append(frame.pixels)
    for ours, theirs in zip(late, at_once, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len({pixels.tobytes() for pixels in late}) > 1 or size == "2x2"


def test_even_a_hanging_child_ends_when_its_parent_is_killed(clip):
    hanging = _FAILING_CHILD.format(condition="frames > 1", deed="time.sleep(600)")
    code = f"""
import os, signal, sys
from pathlib import Path
import psutil
from pipeline.decoding import fork_server
from pipeline.video import read_frames
fork_server.DECODER_COMMAND = (sys.executable, "-P", "-c", {hanging!r})
frames = read_frames({str(clip)!r})
next(frames)
print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    parent = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert parent.returncode == -signal.SIGKILL
    left = parent.stdout.split()
    assert len(left) >= 2  # who reads, and who started it

    until = time.monotonic() + 10
    while not all(_state(pid) == "Z" for pid in left) and time.monotonic() < until:
        time.sleep(0.1)

    assert all(_state(pid) == "Z" for pid in left)


def _state(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def test_keys_and_tokens_are_not_handed_to_the_child(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    assert "secret" not in fork_server.child_environment().values()


def test_memory_does_not_grow_with_the_video(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "_DECORD_BYTES", 10 << 20)
    clip = write_moving(tmp_path / "long.mp4", 300, "-c:v", "libx264", "-preset", "ultrafast", size="320x240")
    frame_bytes = 320 * 240 * 3
    with read_frames(clip) as frames:
        tracemalloc.start()
        for frame in frames:
            if frame.index == 100:
                early = _peak_bytes(children().pop())
                tracemalloc.reset_peak()
            if frame.index == 285:
                late = _peak_bytes(children().pop())
                parent_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert frames.decoder == "PyAV"
    assert parent_peak < 8 * frame_bytes
    assert late - early < 4 * frame_bytes


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def test_a_frame_beyond_the_memory_limit_is_refused_not_fatal(clip, monkeypatch):
    monkeypatch.setattr(client, "_MEMORY_BASE_BYTES", 150 << 20)
    monkeypatch.setattr(client, "_MEMORY_FRAMES", 0)

    with pytest.raises(VideoError):
        probe_video(clip)
