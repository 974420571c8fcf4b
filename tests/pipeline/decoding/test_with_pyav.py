"""What PyAV is made to decode, and with which decoder, in this process."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline.decoding import with_pyav
from pipeline.decoding.with_pyav import decode_with_pyav, decoded_frames, open_container, rgb_pixels
from tests.pipeline.clips import ffmpeg
from tests.pipeline.decoding.heard import Heard

FPS, SECONDS = 10, 40


@pytest.mark.parametrize(("available", "pixels"), [(av.codecs_available, "yuva420p"), (set(), "yuv420p")])
def test_without_libvpx_the_picture_is_read_and_its_transparency_left_away(tmp_path, monkeypatch, available, pixels):
    path = tmp_path / "clear.webm"
    clear = ("-c:v", "libvpx", "-pix_fmt", "yuva420p", "-auto-alt-ref", "0")
    ffmpeg("-f", "lavfi", "-i", "color=red@0.5:s=32x24:r=5:d=1,format=yuva420p", *clear, path)
    monkeypatch.setattr(av, "codecs_available", available)
    request = {"path": str(path), "container": "matroska", "max_pixels": 1 << 20}

    with open_container(request) as container:
        formats = [frame.format.name for frame in decoded_frames(container, container.streams.video[0], request)]

    assert formats == [pixels] * 5


def read_in_order(path: Path, container: str) -> tuple[dict[str, Any], np.ndarray, list[np.ndarray]]:
    """What a decoder is asked, without what it wants; when each frame is shown; the frames, decoded one by one."""
    request = {"path": str(path), "container": container, "max_pixels": 1 << 20, "stream": 0, "ordinal": False}
    request |= {"truncated": False, "first": 0, "width": 96, "height": 64, "rotation": 0, "mirrored": False}
    with open_container(request) as file:
        stream = file.streams.video[0]
        request["time_base"] = [stream.time_base.numerator, stream.time_base.denominator]
        frames = list(decoded_frames(file, stream, request))
    return request, np.array([frame.pts for frame in frames]), [rgb_pixels(frame, request) for frame in frames]


_CLOSED = ("-c:v", "libx264", "-g", "40", "-bf", "3")
_ONE_KEY_FRAME = ("-c:v", "libx264", "-g", "9999", "-sc_threshold", "0")
_OPEN = (*_CLOSED, "-x264-params", "open-gop=1")
_RARE = ("-c:v", "libx264", "-g", "120", "-bf", "3", "-sc_threshold", "0")


def write_long(path: Path, options: tuple[str, ...]) -> Path:
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=96x64:r={FPS}:d={SECONDS}", *options, "-pix_fmt", "yuv420p", path)
    return path


@pytest.mark.parametrize(
    ("name", "container", "options"),
    [
        ("closed.mp4", "mov", _CLOSED),
        ("open.mp4", "mov", _OPEN),
        ("open.ts", "mpegts", _OPEN),
        ("rare.ts", "mpegts", _RARE),
        ("hevc.mp4", "mov", ("-c:v", "libx265", "-x265-params", "open-gop=1:keyint=40:log-level=none")),
        ("vp9.webm", "matroska", ("-c:v", "libvpx-vp9", "-g", "40", "-cpu-used", "8")),
        ("mpeg2.ts", "mpegts", ("-c:v", "mpeg2video", "-r", "25", "-g", "40", "-bf", "2", "-q:v", "3")),
        # One key frame, after which pictures are made anew piece by piece, or never.
        ("refreshed.mp4", "mov", ("-c:v", "libx264", "-x264-params", "intra-refresh=1:keyint=40")),
        ("one.mp4", "mov", _ONE_KEY_FRAME),
    ],
)
def test_what_is_searched_for_is_what_decoding_in_order_gives(tmp_path, name, container, options):
    request, timestamps, frames = read_in_order(write_long(tmp_path / name, options), container)
    count = len(frames)
    for wanted in ([0, count // 2, count // 2 + 3, count - 1], *([place] for place in range(count // 2, count, 11))):
        heard = Heard()
        decode_with_pyav(request, timestamps, np.array(wanted), heard)
        for ours, place in zip(heard.pictures, wanted, strict=True):
            np.testing.assert_array_equal(ours, frames[place], str(place))


@pytest.mark.parametrize(
    ("name", "container", "options", "wanted", "most"),
    [
        # A key frame comes every 40 frames, and is looked for 32 in front of what is wanted.
        ("many.mp4", "mov", _CLOSED, [0, 399], 1 + 40 + 32),
        # The last one is the 360th.
        ("rare.ts", "mpegts", _RARE, [0, 399], 1 + 40),
        # Each once, besides what was decoded until there turned out to be nothing to search for.
        ("one.mp4", "mov", _ONE_KEY_FRAME, [0, 130, 260, 399], 1 + 1 + 400),
        ("one.ts", "mpegts", _ONE_KEY_FRAME, [0, 130, 260, 399], 1 + 1 + 400),
    ],
)
def test_what_lies_between_is_not_decoded(tmp_path, monkeypatch, name, container, options, wanted, most):
    request, timestamps, _ = read_in_order(write_long(tmp_path / name, options), container)
    decoded = count_decoded(monkeypatch)
    decode_with_pyav(request, timestamps, np.array(wanted), Heard())
    assert len(decoded) <= most


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list that will have an entry for each frame that is decoded."""
    decoded: list[Any] = []

    def counted(*given):
        for frame in decoded_frames(*given):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(with_pyav, "decoded_frames", counted)
    return decoded


# Three frames of four are such that no other is made from them.
_B_FRAMES = ("-c:v", "libx264", "-bf", "3", "-x264-params", "b-adapt=0:b-pyramid=none:scenecut=0")
_HEVC_B_FRAMES = ("-c:v", "libx265", "-x265-params", "bframes=3:b-adapt=0:b-pyramid=0:scenecut=0:log-level=none")


@pytest.mark.parametrize(
    ("name", "container", "options"),
    [
        ("b.mp4", "mov", _B_FRAMES),
        ("b.mkv", "matroska", _B_FRAMES),
        ("b.ts", "mpegts", _B_FRAMES),
        ("hevc.mp4", "mov", _HEVC_B_FRAMES),
        ("hevc.mkv", "matroska", _HEVC_B_FRAMES),
    ],
)
def test_what_nobody_wants_and_nothing_is_made_from_is_not_decoded(tmp_path, monkeypatch, name, container, options):
    request, timestamps, frames = read_in_order(write_long(tmp_path / name, options), container)
    decoded = count_decoded(monkeypatch)
    for stride in (3, 5):
        decoded.clear()
        heard = Heard()
        decode_with_pyav(request, timestamps, np.arange(1, len(frames), stride), heard)
        np.testing.assert_array_equal(heard.pictures, frames[1::stride])
        # Besides those that are decoded until the first frame comes.
        assert len(decoded) <= (1 / 4 + 3 / 4 / stride) * len(frames) + 8


@pytest.mark.parametrize(
    ("name", "container", "options"),
    [
        ("fields.mp4", "mov", (*_B_FRAMES, "-flags", "+ildct+ilme")),
        ("layers.mp4", "mov", _HEVC_B_FRAMES),
        ("hevc.ts", "mpegts", _HEVC_B_FRAMES),
        ("mpeg.mp4", "mov", ("-c:v", "mpeg4", "-bf", "3", "-q:v", "3")),
    ],
)
def test_of_what_may_be_made_from_any_frame_everything_is_decoded(tmp_path, monkeypatch, name, container, options):
    path = write_long(tmp_path / name, options)
    if name == "layers.mp4":
        content = bytearray(path.read_bytes())
        layers = content.index(b"hvcC") + 4 + 21
        assert content[layers] >> 3 & 7 == 1
        content[layers] += 1 << 3
        path.write_bytes(content)
    request, timestamps, frames = read_in_order(path, container)
    decoded, heard = count_decoded(monkeypatch), Heard()
    decode_with_pyav(request, timestamps, np.arange(1, len(frames), 3), heard)
    np.testing.assert_array_equal(heard.pictures, frames[1::3])
    assert len(decoded) >= len(frames) - 3


@pytest.mark.parametrize("known", [{"ordinal": True}, {"truncated": True}], ids=str)
def test_of_a_damaged_video_and_one_without_times_everything_is_decoded(tmp_path, monkeypatch, known):
    request, timestamps, frames = read_in_order(write_long(tmp_path / "b.mp4", _B_FRAMES), "mov")
    decoded, heard = count_decoded(monkeypatch), Heard()
    decode_with_pyav(request | known, timestamps, np.arange(0, len(frames), 3), heard)
    np.testing.assert_array_equal(heard.pictures, frames[::3])
    assert len(decoded) == len(frames)
