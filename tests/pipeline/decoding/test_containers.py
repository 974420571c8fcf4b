from pathlib import Path

import pytest

from pipeline.decoding.containers import VideoError, sniff_container


@pytest.mark.parametrize(
    ("head", "demuxer"),
    [
        (b"\x00\x00\x00\x20ftypisom", "mov"),
        (b"\x00\x00\x10\x00moov", "mov"),
        (b"\x1a\x45\xdf\xa3\x01\x00", "matroska"),
        (b"RIFF\x10\x00\x00\x00AVI LIST", "avi"),
        (b"FLV\x01\x05", "flv"),
        ((b"\x47" + bytes(187)) * 4, "mpegts"),
        ((bytes(4) + b"\x47" + bytes(187)) * 4, "mpegts"),
        (b"\x00\x00\x01\xba\x44", "mpeg"),
        (b"GIF89a\x01\x00", "gif"),
        (b"OggS\x00", "ogg"),
    ],
)
def test_containers_are_known_by_their_first_bytes_whatever_the_name(tmp_path: Path, head: bytes, demuxer: str) -> None:
    file = tmp_path / "clip.txt"
    file.write_bytes(head)

    assert sniff_container(file) == demuxer


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "zero bytes"),
        (b"just some words, no video at all", "is text that begins with 'just some words"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "playlist"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "playlist"),
        (b"\xef\xbb\xbf#EXTM3U\n", "playlist"),
        (b"<!DOCTYPE html><html>Please log in</html>", "web page"),
        (b"  <HTML>404</HTML>", "web page"),
        (b"<?xml version='1.0'?><MPD/>", "XML"),
        (b"\x89PNG\r\n\x1a\n\x00", "still picture (PNG)"),
        (b"RIFF\x10\x00\x00\x00WAVEfmt ", "begins with the bytes 52 49 46 46"),
        (b"\x00" * 2000, "begins with the bytes 00 00 00"),
        (b"\x47" + b"\x00" * 2000, "begins with the bytes 47 00"),
    ],
)
def test_anything_else_is_refused_with_what_it_begins_with(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "clip.mp4"
    file.write_bytes(content)

    with pytest.raises(VideoError) as refusal:
        sniff_container(file)

    assert said in str(refusal.value)
    assert str(file) in str(refusal.value)


def test_a_missing_file_and_a_folder_are_video_errors(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="No such file"):
        sniff_container(tmp_path / "absent.mp4")
    with pytest.raises(VideoError, match="Is a directory"):
        sniff_container(tmp_path)
