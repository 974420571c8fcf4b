"""Videos written with the real FFmpeg and read back."""

import logging
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest

from pipeline import encoding
from pipeline.encoding import EncodingError, VideoWriter
from pipeline.video import probe_video, read_frames
from tests.pipeline.clips import ffmpeg, numbered, numbers, write_numbered

RATE = 44100


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def driving(clips: Path) -> Path:
    """Two seconds of pictures; of sound, a beep from 0.7 s to 0.9 s on the file's clock, three seconds in all."""
    silent, path = write_numbered(clips / "silent.mp4", 24, 12), clips / "driving.mp4"
    beep = f"aevalsrc='sin(2*PI*880*t)*between(t,0.7,0.9)':s={RATE}:d=3"
    ffmpeg("-i", silent, "-f", "lavfi", "-i", beep, "-c:v", "copy", path)
    return path


def write(path: Path, frames: Iterable[np.ndarray], fps: float = 12, **options: Any) -> VideoWriter:
    with VideoWriter(path, fps, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return writer


def beep_span(path: Path) -> tuple[float, float]:
    """When the beep is heard, in seconds from the first picture, as a player hears it."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-vn", "-af", "aresample=async=1"]
    raw = subprocess.run([*command, "-ac", "1", "-ar", str(RATE), "-f", "f32le", "-"], capture_output=True, check=True)
    loud = np.flatnonzero(np.abs(np.frombuffer(raw.stdout, np.float32)) > 0.1)
    return float(loud[0]) / RATE, float(loud[-1]) / RATE


def stream_line(path: Path, kind: str) -> str:
    said = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)], capture_output=True)
    return next(line for line in said.stderr.decode().splitlines() if f"{kind}:" in line)


def duration_of_audio(path: Path) -> float:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-vn", "-ac", "1", "-ar", str(RATE)]
    raw = subprocess.run([*command, "-f", "s16le", "-"], capture_output=True, check=True)
    return len(raw.stdout) / 2 / RATE


def test_frames_come_back_in_number_order_and_colour(tmp_path):
    path = tmp_path / "out.mp4"
    colours = [(200, 30, 40), (20, 190, 60), (30, 40, 210), (128, 128, 128), (255, 255, 255), (0, 0, 0)]
    writer = write(path, (np.broadcast_to(np.array(colour, np.uint8), (48, 64, 3)) for colour in colours), 29.97)

    with read_frames(path) as frames:
        read = [frame.pixels for frame in frames]

    assert writer.frames == len(read) == 6
    for picture, colour in zip(read, colours, strict=True):
        np.testing.assert_allclose(picture.mean((0, 1)), colour, atol=3)
    assert frames.info.fps == pytest.approx(29.97, abs=0.01)
    line = stream_line(path, "Video")
    assert "h264" in line
    assert "yuv420p(tv, bt709, progressive)" in line


def test_the_index_comes_before_the_data(driving, tmp_path):
    for path, audio in ((tmp_path / "silent.mp4", None), (tmp_path / "loud.mp4", driving)):
        write(path, [numbered(0)], audio=audio)

        content, boxes, at = path.read_bytes(), [], 0
        while at < len(content):
            size, kind = struct.unpack(">I4s", content[at : at + 8])
            boxes.append(kind)
            at += size
        assert boxes.index(b"moov") < boxes.index(b"mdat")


def test_the_same_frames_give_the_same_bytes(driving, tmp_path):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)
    for name in ("one", "two"):
        write(tmp_path / f"{name}.mp4", pictures, audio=driving)

    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


@pytest.mark.parametrize(("width", "height"), [(63, 48), (64, 47), (63, 47), (1, 1)])
def test_odd_sizes_get_their_last_row_or_column_twice(tmp_path, width, height):
    path = tmp_path / "odd.mp4"
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, -1] = picture[-1] = 200
    write(path, [picture], crf=5)

    with read_frames(path) as frames:
        (read,) = (frame.pixels for frame in frames)

    assert read.shape == (height + height % 2, width + width % 2, 3)
    np.testing.assert_allclose(read[height - 1 :].mean((0, 1)), 200, atol=8)
    np.testing.assert_allclose(read[:, width - 1 :].mean((0, 1)), 200, atol=8)


def test_lower_crf_is_closer_to_the_original(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    sizes = []
    for crf in (10, 40):
        write(tmp_path / "out.mp4", [picture], crf=crf)
        sizes.append((tmp_path / "out.mp4").stat().st_size)

    assert sizes[0] > sizes[1]


def test_sound_is_carried_over_and_cut_to_the_pictures(driving, tmp_path):
    path = tmp_path / "out.mp4"
    writer = write(path, map(numbered, range(20)), 15, audio=driving)

    info = probe_video(path)
    assert writer.has_audio
    assert info.has_audio
    assert info.duration_s == pytest.approx(20 / 15, abs=1e-3)
    assert duration_of_audio(path) == pytest.approx(20 / 15, abs=0.03)
    assert beep_span(path) == pytest.approx((0.7, 0.9), abs=0.03)
    assert "aac" in stream_line(path, "Audio")


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_sound_stays_in_step_when_pictures_begin_later(driving, clips, tmp_path, suffix):
    late, path = clips / f"late.{suffix}", tmp_path / "out.mp4"
    ffmpeg("-itsoffset", "0.5", "-i", driving, "-i", driving, "-map", "0:v", "-map", "1:a", "-c", "copy", late)
    write(path, map(numbered, range(24)), audio=late)

    assert beep_span(path) == pytest.approx((0.2, 0.4), abs=0.03)


def test_sound_that_begins_later_than_the_pictures_waits(driving, clips, tmp_path):
    late, path = clips / "late_sound.mp4", tmp_path / "out.mp4"
    ffmpeg("-i", driving, "-itsoffset", "0.6", "-i", driving, "-map", "0:v", "-map", "1:a", "-c", "copy", late)
    write(path, map(numbered, range(24)), audio=late)

    assert beep_span(path) == pytest.approx((1.3, 1.5), abs=0.03)


@pytest.mark.parametrize(
    ("channels", "rate", "becomes"),
    [("5.1(side)", 44100, "44100 Hz, stereo"), ("7.1", 48000, "48000 Hz, stereo"), ("mono", 22050, "44100 Hz, mono")],
)
def test_sound_of_more_channels_and_other_rates_is_carried_over(driving, clips, tmp_path, channels, rate, becomes):
    source, path = clips / f"{channels}.mov", tmp_path / "out.mp4"
    sound = f"aresample={rate},aformat=channel_layouts={channels}"
    ffmpeg("-i", driving, "-c:v", "copy", "-af", sound, "-c:a", "pcm_s16le", source)
    write(path, map(numbered, range(24)), audio=source)

    assert beep_span(path) == pytest.approx((0.7, 0.9), abs=0.03)
    assert becomes in stream_line(path, "Audio")


def test_sound_shorter_than_the_pictures_does_not_cut_them(clips, tmp_path):
    short, path = clips / "short_sound.mp4", tmp_path / "out.mp4"
    ffmpeg("-i", write_numbered(clips / "s.mp4", 12, 12), "-f", "lavfi", "-i", "sine=d=0.2", "-c:v", "copy", short)
    write(path, map(numbered, range(12)), audio=short)

    with read_frames(path) as frames:
        assert numbers([frame.pixels for frame in frames]) == list(range(12))


def test_without_usable_sound_the_video_is_silent_and_the_log_says_why(driving, clips, tmp_path, caplog):
    text, unknown = tmp_path / "text.mp4", tmp_path / "unknown.mkv"
    text.write_text("no video at all, just words")
    ffmpeg("-i", driving, "-c", "copy", unknown)
    unknown.write_bytes(unknown.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    for audio, said in ((clips / "silent.mp4", "has none"), (text, "is text"), (unknown, "cannot be used")):
        path = tmp_path / "out.mp4"
        caplog.clear()
        with caplog.at_level(logging.INFO):
            writer = write(path, [numbered(3)], audio=audio)

        assert not writer.has_audio
        assert not probe_video(path).has_audio
        assert said in caplog.text


def test_an_exception_in_the_block_leaves_nothing(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"what was here before")

    with pytest.raises(ZeroDivisionError):
        write(path, (numbered(6 // (3 - i)) for i in range(9)))

    assert path.read_bytes() == b"what was here before"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_at_the_path_before_the_block_ends(tmp_path):
    path = tmp_path / "out.mp4"
    with VideoWriter(path, 12) as writer:
        for number in range(5):
            writer.write(numbered(number))
        assert not path.exists()

    assert path.exists()
    assert list(tmp_path.iterdir()) == [path]


def test_no_frame_is_an_error(tmp_path):
    with pytest.raises(EncodingError, match="no frame was written"):
        write(tmp_path / "out.mp4", [])

    assert not list(tmp_path.iterdir())


def test_when_ffmpeg_dies_the_error_has_what_it_said_and_a_flood_of_it_does_not_block(tmp_path, monkeypatch):
    false_ffmpeg = tmp_path / "ffmpeg"
    flood = "for i in range(20000): print('complaint number', i, file=sys.stderr)"
    false_ffmpeg.write_text(f"#!/usr/bin/env python3\nimport sys\n{flood}\nsys.exit('no encoder left')\n")
    false_ffmpeg.chmod(0o755)
    monkeypatch.setattr(encoding.imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(false_ffmpeg))
    path = tmp_path / "out.mp4"

    with pytest.raises(EncodingError, match=r"(?s)out\.mp4: FFmpeg ended .*no encoder left"):
        write(path, [numbered(0, 640, 480)] * 200)

    assert list(tmp_path.iterdir()) == [false_ffmpeg]


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((3, 48, 64), np.uint8),
        np.zeros((48, 64, 3), np.float32),
        np.zeros((0, 64, 3), np.uint8),
    ],
)
def test_what_is_no_rgb_frame_is_refused_by_number(tmp_path, frame):
    with pytest.raises(ValueError, match=r"frame 1 is .* expected uint8 \(height, width, 3\)"):
        write(tmp_path / "out.mp4", [numbered(0), frame])

    assert not list(tmp_path.iterdir())


def test_a_frame_of_another_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"frame 1 has shape \(48, 66, 3\); the first one had \(48, 64, 3\)"):
        write(tmp_path / "out.mp4", [numbered(0), numbered(1, 66)])


def test_a_video_of_a_frame_an_hour_has_a_rate(tmp_path):
    path = tmp_path / "out.mp4"
    write(path, [np.zeros((16, 16, 3), np.uint8)] * 2, fps=0.0003)
    assert probe_video(path).frames == 2


@pytest.mark.parametrize(("fps", "crf"), [(0, 18), (float("nan"), 18), (15, -1), (15, 60)])
def test_settings_that_make_no_video_are_refused(tmp_path, fps, crf):
    with pytest.raises(ValueError, match="give a"):
        VideoWriter(tmp_path / "out.mp4", fps, crf=crf)

    assert not list(tmp_path.iterdir())
