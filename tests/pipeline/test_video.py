"""Real clips, read as they are: times, orientation, sizes, colours, damage, limits."""

import logging
import struct
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from pipeline import video
from pipeline.video import VideoError, VideoLimits, probe_video, read_frames
from tests.pipeline.clips import ffmpeg, number_of, numbers, write_moving, write_numbered

COUNT, FPS = 24, 12


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def plain(clips: Path) -> Path:
    """24 numbered frames at 12 fps: two seconds."""
    return write_numbered(clips / "plain.mp4", COUNT, FPS)


@pytest.fixture(scope="module")
def moving(clips: Path) -> Path:
    return write_moving(clips / "moving.mp4", 15)


@pytest.fixture(scope="module")
def upright(moving: Path) -> list[np.ndarray]:
    return pictures(moving)


@pytest.fixture(params=["decord", "PyAV"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each decoder in turn, for files that decord is let near."""
    if request.param == "PyAV":
        monkeypatch.setattr(video, "find_spec", lambda name: None)
    elif find_spec("decord") is None:
        pytest.skip("decord has no wheel for this machine")
    return request.param


def pictures(path: Path, fps: float | None = None) -> list[np.ndarray]:
    with read_frames(path, fps) as frames:
        return [frame.pixels for frame in frames]


def test_every_frame_once_with_its_time(plain, decoder):
    with read_frames(plain) as frames:
        read = list(frames)

    assert frames.decoder == decoder
    assert len(frames) == COUNT
    assert numbers([frame.pixels for frame in read]) == list(range(COUNT))
    assert [frame.index for frame in read] == list(range(COUNT))
    np.testing.assert_allclose([frame.pts_s for frame in read], np.arange(COUNT) / FPS, atol=1e-4)
    assert read[0].pixels.shape == (48, 64, 3)
    assert read[0].pixels.dtype == np.uint8
    assert not frames.truncated


def test_probe_says_what_is_there(plain):
    info = probe_video(plain)

    assert (info.width, info.height, info.frames, info.rotation) == (64, 48, COUNT, 0)
    assert info.duration_s == pytest.approx(2.0)
    assert info.fps == pytest.approx(FPS)
    assert (info.codec, info.container, info.has_audio, info.truncated) == ("h264", "mov", False, False)


@pytest.mark.parametrize(("fps", "decoder"), [(5, "PyAV"), (29.97, "decord"), (29.97, "PyAV")], indirect=["decoder"])
def test_sampling_keeps_the_duration_and_shows_what_is_on_screen(plain, decoder, fps):
    with read_frames(plain, fps) as frames:
        read = list(frames)

    assert frames.decoder == decoder
    assert abs(len(read) / fps - 2.0) <= 1 / fps
    expected = [min(COUNT - 1, int(i / fps * FPS + 1e-6 + 0.012)) for i in range(len(read))]
    assert numbers([frame.pixels for frame in read]) == expected


@pytest.mark.skipif(find_spec("decord") is None, reason="decord has no wheel for this machine")
@pytest.mark.parametrize(("stride", "reads"), [(1, "decord"), (2, "PyAV")])
def test_decord_reads_where_every_frame_is_wanted_and_pyav_where_some_are_left_out(plain, stride, reads):
    with read_frames(plain, stride=stride) as frames:
        read = list(frames)

    assert frames.decoder == reads
    assert numbers([frame.pixels for frame in read]) == list(range(0, COUNT, stride))


def test_frames_at_given_times_are_those_on_screen_then(plain):
    with read_frames(plain, at_s=[0.0, 2.1 / FPS, 2.9 / FPS, 7 / FPS, 99.0]) as frames:
        assert numbers([frame.pixels for frame in frames]) == [0, 2, 2, 7, COUNT - 1]


def test_frames_far_apart_are_those_on_screen_then(clips):
    long = write_moving(clips / "long.mp4", 40 * 25)
    every, places = pictures(long), [1, 15 * 25, 15 * 25 + 2, 34 * 25 + 7]

    with read_frames(long, at_s=[place / 25 for place in places]) as frames:
        for frame, place in zip(frames, places, strict=True):
            np.testing.assert_array_equal(frame.pixels, every[place])


@pytest.mark.parametrize("times", [[0.5, 0.2], [0.1, float("nan")], [float("inf")]])
def test_times_that_do_not_rise_are_refused(plain, times):
    with pytest.raises(ValueError, match="at_s is not rising"):
        read_frames(plain, at_s=times)


def test_repeated_frames_do_not_share_memory(plain):
    with read_frames(plain, 24) as frames:
        first, second = next(frames), next(frames)

    assert number_of(first.pixels) == number_of(second.pixels) == 0
    first.pixels[:] = 255
    assert number_of(second.pixels) == 0


@pytest.mark.skipif(find_spec("decord") is None, reason="decord has no wheel for this machine")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bt601.mp4", ("-c:v", "libx264", "-pix_fmt", "yuv420p")),
        ("bt709.mp4", ("-vf", "scale=out_color_matrix=bt709", "-colorspace", "bt709", "-pix_fmt", "yuv420p")),
        ("full_range.mp4", ("-c:v", "libx264", "-pix_fmt", "yuvj420p")),
        ("moving.webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p", "-cpu-used", "8")),
        ("moving.avi", ("-c:v", "mpeg4")),
    ],
)
def test_decord_and_pyav_give_the_same_pixels(clips, monkeypatch, name, options):
    path = write_moving(clips / name, 15, *options)
    with read_frames(path) as frames:
        by_decord = [frame.pixels for frame in frames]
        assert frames.decoder == "decord"
    monkeypatch.setattr(video, "find_spec", lambda name: None)

    for ours, theirs in zip(pictures(path), by_decord, strict=True):
        # MPEG-4's inverse transform is allowed to round differently; H.264's and VP9's are not.
        assert np.abs(ours.astype(int) - theirs).max() <= (2 if name.endswith("avi") else 0)


def test_variable_frame_rate_goes_by_presentation_times(plain, clips, decoder):
    path = clips / "variable.mkv"
    # Frames 0, 4, 8 stay for a third of a second; from 12 on every frame is there.
    chosen = "select='not(mod(n,4))+gte(n,12)'"
    ffmpeg("-i", plain, "-vf", chosen, "-fps_mode", "passthrough", "-c:v", "libx264", "-pix_fmt", "yuv420p", path)

    with read_frames(path, FPS) as frames:
        read = [frame.pixels for frame in frames]

    assert frames.info.frames == 15
    assert numbers(read) == [0] * 4 + [4] * 4 + [8] * 4 + list(range(12, 24))


def test_a_video_that_starts_late_starts_with_its_first_frame(plain, clips, decoder):
    path = clips / "late.mp4"
    ffmpeg("-itsoffset", "0.5", "-i", plain, "-f", "lavfi", "-i", "sine=d=2.5", "-c:v", "copy", path)

    with read_frames(path, FPS) as frames:
        read = list(frames)

    assert frames.info.start_s == pytest.approx(0.5)
    assert frames.info.duration_s == pytest.approx(2.0)
    assert frames.info.has_audio
    assert numbers([frame.pixels for frame in read]) == list(range(COUNT))
    assert read[0].pts_s == pytest.approx(0.5)


@pytest.mark.parametrize(("degrees", "suffix"), [(90, "mp4"), (180, "mp4"), (90, "mkv")])
def test_rotation_is_applied(moving, upright, clips, decoder, degrees, suffix):
    path = clips / f"rotated{degrees}.{suffix}"
    ffmpeg("-display_rotation", str(degrees), "-i", moving, "-c", "copy", path)

    with read_frames(path) as frames:
        read = [frame.pixels for frame in frames]

    assert frames.info.rotation == degrees
    assert (frames.info.height, frames.info.width) == read[0].shape[:2]
    for ours, source in zip(read, upright, strict=True):
        np.testing.assert_array_equal(ours, np.rot90(source, degrees // 90))


@pytest.mark.parametrize("turn", [(), ("-display_rotation", "90"), ("-display_rotation", "180")])
def test_what_is_meant_to_be_seen_mirrored_is(moving, clips, decoder, turn):
    path, by_ffmpeg = clips / f"mirrored{''.join(turn)}.mp4", clips / f"mirrored{''.join(turn)}.mkv"
    ffmpeg(*turn, "-display_hflip", "-i", moving, "-c", "copy", path)
    ffmpeg("-i", path, "-c:v", "ffv1", by_ffmpeg)

    assert probe_video(path).mirrored
    assert not probe_video(by_ffmpeg).mirrored
    np.testing.assert_array_equal(pictures(path), pictures(by_ffmpeg))


def test_a_file_whose_edit_list_hides_frames_shows_only_the_others(plain, clips):
    path = clips / "cut.mp4"
    ffmpeg("-ss", "0.75", "-i", plain, "-c", "copy", path)

    assert numbers(pictures(path)) == list(range(9, COUNT))


def test_odd_sizes_are_kept(clips):
    odd = write_moving(clips / "odd.mkv", 3, "-vf", "crop=91:63:exact=1", "-c:v", "ffv1", "-pix_fmt", "yuv420p")

    assert [picture.shape for picture in pictures(odd)] == [(63, 91, 3)] * 3


def test_deep_colour_becomes_eight_bits(moving, upright, clips):
    deep = clips / "deep.mp4"
    ffmpeg("-i", moving, "-c:v", "libx264", "-crf", "10", "-pix_fmt", "yuv420p10le", deep)

    for ours, eight_bit in zip(pictures(deep), upright, strict=True):
        assert np.abs(ours.astype(int) - eight_bit).mean() < 8


def test_b_frames_in_avi_come_in_display_order(moving, upright, clips):
    shuffled = clips / "b_frames.avi"
    ffmpeg("-i", moving, "-c", "copy", shuffled)

    np.testing.assert_array_equal(pictures(shuffled), upright)


def test_transparency_lies_on_white_and_stretched_pixels_become_square(clips):
    red = clips / "red.mov"
    half_red = "color=red:s=32x24:r=5:d=1,format=rgba,colorchannelmixer=aa=0.5"
    ffmpeg("-f", "lavfi", "-i", half_red, "-c:v", "qtrle", red)
    wide = write_moving(clips / "wide.mp4", 3, "-vf", "setsar=2", "-c:v", "libx264", "-pix_fmt", "yuv420p")

    np.testing.assert_allclose(pictures(red)[0], np.broadcast_to([255, 128, 128], (24, 32, 3)), atol=2)
    assert pictures(wide)[0].shape == (64, 192, 3)
    assert probe_video(wide).width == 192


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_a_webm_that_is_transparent_lies_on_white(clips, codec):
    path = clips / f"{codec}.webm"
    half_red = "color=red:s=34x24:r=5:d=1,format=yuva420p,colorchannelmixer=aa=0.5"
    ffmpeg("-f", "lavfi", "-i", half_red, "-c:v", codec, "-pix_fmt", "yuva420p", "-auto-alt-ref", "0", path)

    read = pictures(path)

    assert len(read) == 5
    np.testing.assert_allclose(read[-1], np.broadcast_to([255, 128, 128], (24, 34, 3)), atol=6)


@pytest.mark.parametrize("suffix", ["ts", "gif", "wmv"])
def test_other_containers_give_all_their_frames(clips, suffix):
    codec = {"ts": "libx264", "gif": "gif", "wmv": "wmv2"}
    pixels = () if suffix == "gif" else ("-pix_fmt", "yuv420p")
    path = write_moving(clips / f"other.{suffix}", 10, "-c:v", codec[suffix], *pixels)

    with read_frames(path) as frames:
        read = list(frames)

    assert len(read) == 10
    assert np.abs(read[0].pixels.astype(int) - read[-1].pixels).mean() > 1
    assert not frames.truncated


def test_one_frame(clips):
    path = write_numbered(clips / "one.mp4", 1, 15)

    with read_frames(path, 15) as frames:
        assert [number_of(frame.pixels) for frame in frames] == [0]
    assert frames.info.frames == 1
    assert len(pictures(path, 45)) == 3


def test_sound_alone_is_refused_and_cover_art_is_not_a_video(clips):
    sound, cover, song = clips / "sound.mp4", clips / "cover.png", clips / "song.m4a"
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.5", sound)
    ffmpeg("-f", "lavfi", "-i", "color=red:s=32x32", "-frames:v", "1", cover)
    ffmpeg("-i", sound, "-i", cover, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v", "attached_pic", song)

    for path in (sound, song):
        with pytest.raises(VideoError, match=r"no video stream\. Give a file with moving pictures"):
            probe_video(path)


def test_a_file_without_its_index_is_refused(moving, tmp_path):
    at_the_end, headless = tmp_path / "index_last.mp4", tmp_path / "headless.mp4"
    ffmpeg("-i", moving, "-c", "copy", at_the_end)
    headless.write_bytes(at_the_end.read_bytes()[: at_the_end.stat().st_size // 2])

    with pytest.raises(VideoError, match="header cannot be read"):
        read_frames(headless)


def edited(contents: bytes, start_s: float, length_s: float) -> bytes:
    """An MP4 that shows a part of itself, as a phone trims it: all the samples are still there."""

    def number(box: bytes, offset: int) -> int:
        return int(struct.unpack_from(">I", contents, contents.index(box) + offset)[0])

    changed = bytearray(contents)
    length = round(length_s * number(b"mvhd", 16))
    start = number(b"elst", 16) + round(start_s * number(b"mdhd", 16))
    for box, offset, value in (
        (b"mvhd", 20, length),
        (b"tkhd", 24, length),
        (b"elst", 12, length),
        (b"elst", 16, start),
    ):
        struct.pack_into(">I", changed, contents.index(box) + offset, value)
    return bytes(changed)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_cut_tail_ends_the_video_early_and_says_so(clips, tmp_path, suffix, caplog):
    whole = clips / f"long.{suffix}"
    options = ("-c:v", "mpeg4") if suffix == "avi" else ("-c:v", "libx264", "-pix_fmt", "yuv420p")
    write_moving(whole, 50, *options, "-movflags", "+faststart")
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])

    with caplog.at_level(logging.WARNING), read_frames(cut) as frames:
        read = [frame.pixels for frame in frames]

    assert frames.truncated
    assert frames.info.truncated
    assert 15 < len(read) < 45
    assert "ends before its header says" in caplog.text
    for ours, source in zip(read[:15], pictures(whole)[:15], strict=True):
        np.testing.assert_array_equal(ours, source)
    assert not probe_video(whole).truncated


def test_what_an_edit_list_hides_is_not_missing_unless_the_file_is_cut(clips, tmp_path):
    whole = write_moving(clips / "untrimmed.mp4", 50, "-g", "10", "-bf", "0", "-movflags", "+faststart")
    trimmed, cut = tmp_path / "trimmed.mp4", tmp_path / "cut.mp4"
    trimmed.write_bytes(edited(whole.read_bytes(), start_s=0.88, length_s=0.6))
    cut.write_bytes(trimmed.read_bytes()[:-1])

    with read_frames(trimmed) as frames:
        read = [frame.pixels for frame in frames]

    assert not frames.truncated
    for ours, source in zip(read[:15], pictures(whole)[22:37], strict=True):
        np.testing.assert_array_equal(ours, source)
    assert probe_video(cut).truncated


def test_a_broken_middle_keeps_the_length(clips, tmp_path):
    whole = write_moving(clips / "whole.mp4", 50)
    content = bytearray(whole.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = np.random.default_rng(0).bytes(2000)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(content)

    with read_frames(broken, 25) as frames:
        assert len(list(frames)) == 50


def test_only_noise_after_a_good_header_is_an_error(clips, tmp_path):
    content = bytearray(write_moving(clips / "noise_source.mp4", 10).read_bytes())
    start = content.index(b"mdat") + 4
    content[start:] = bytes(len(content) - start)
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(content)

    with pytest.raises(VideoError, match=r"noise\.mp4: (no frame|its header|the process)"):
        pictures(noise)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (VideoLimits(max_pixels=64 * 48 - 1), "its frames are 64x48, more than the limit of 3071 pixels"),
        (VideoLimits(max_aspect=1), "its frames are 64x48, longer than 1 times their other side"),
        (VideoLimits(max_duration_s=1.9), "it lasts 2.0 s, longer than the limit of 1.9 s"),
        (VideoLimits(max_frames=COUNT - 1), "it has more than 23 frames"),
    ],
)
def test_limits_are_checked_before_reading(plain, limits, said):
    with pytest.raises(VideoError) as refusal:
        read_frames(plain, limits=limits)

    assert said in str(refusal.value)
    assert str(plain) in str(refusal.value)


def test_more_output_frames_than_the_limit_are_refused(plain):
    with pytest.raises(VideoError, match="2 s at 600 fps are more than 1000 frames"):
        read_frames(plain, 600, limits=VideoLimits(max_frames=1000))


def test_a_header_that_declares_a_huge_picture_is_refused(tmp_path):
    bomb = tmp_path / "bomb.gif"
    bomb.write_bytes(
        b"GIF89a\xff\xff\xff\xff\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02"
    )

    with pytest.raises(VideoError, match=r"bomb\.gif"):
        probe_video(bomb)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(plain, fps):
    with pytest.raises(ValueError, match="positive number"):
        read_frames(plain, fps)


@pytest.mark.parametrize("content", [b"", b"text", b"#EXTM3U\nplain.mp4\n", b"ffconcat version 1.0\nfile plain.mp4\n"])
def test_what_is_no_video_is_refused_before_anything_opens_it(tmp_path, content, monkeypatch):
    monkeypatch.setattr(video, "DecoderProcess", None)
    file = tmp_path / "clip.mp4"
    file.write_bytes(content)

    with pytest.raises(VideoError, match=r"clip\.mp4"):
        read_frames(file)


@pytest.mark.parametrize("name", ["concat:a.mp4", "-%03d 'and' ü.mp4"])
def test_a_name_is_only_ever_a_name(plain, tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(plain.read_bytes())
    monkeypatch.chdir(tmp_path)

    assert len(pictures(Path(name))) == COUNT
