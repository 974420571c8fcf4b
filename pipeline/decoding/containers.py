"""Which video container a file is, judged by its first bytes and by nothing else.

FFmpeg left to itself picks a demuxer by what it finds, and some demuxers (HLS, DASH, concat, SDP) open other files and
hosts. Naming the demuxer from a short list closes that door: a file either is one of these, or it is not opened.
"""

from pathlib import Path

# Enough for three packets of an MPEG transport stream, the container that takes longest to be sure of.
_HEAD_BYTES = 1024

_BY_PREFIX = {
    b"\x1a\x45\xdf\xa3": "matroska",
    b"FLV\x01": "flv",
    b"\x00\x00\x01\xba": "mpeg",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
    b"OggS": "ogg",
}
_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}

_NOT_VIDEO = {
    b"#EXTM3U": "a playlist, which names other files; give the video itself",
    b"ffconcat": "a playlist, which names other files; give the video itself",
    b"<!doctype html": "a web page, often a login or an error page saved under a video's name; fetch the video again",
    b"<html": "a web page, often a login or an error page saved under a video's name; fetch the video again",
    b"<?xml": "an XML document; give the video itself",
    b"\x89PNG": "a still picture (PNG); give a video",
    b"\xff\xd8\xff": "a still picture (JPEG); give a video",
    b"ID3": "an audio file; give a video",
    b"fLaC": "an audio file; give a video",
    b"PK\x03\x04": "a ZIP archive; unpack it and give the video",
    b"\x1f\x8b": "a gzip archive; unpack it and give the video",
}


class VideoError(ValueError):
    """A video that cannot be read. The message names the file, the cause and what to do."""


def sniff_container(path: Path) -> str:
    """The FFmpeg demuxer to open a file with: mov, matroska, avi, flv, mpegts, mpeg, gif, asf or ogg.

    Raises:
        VideoError: no such file, no bytes in it, or it begins like none of these containers.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise VideoError(f"{path}: cannot be opened ({error.strerror}). Check the path and its permissions.") from error
    if not head:
        raise VideoError(f"{path}: the file has zero bytes. Fetch or export it again.")
    for prefix, demuxer in _BY_PREFIX.items():
        if head.startswith(prefix):
            return demuxer
    if head[4:8] in _FIRST_BOXES:
        return "mov"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if _is_transport_stream(head):
        return "mpegts"
    raise VideoError(f"{path}: not a video that is accepted here: it {_describe(head)}.")


def _is_transport_stream(head: bytes) -> bool:
    """188-byte packets that begin with 0x47, or the same after a 4-byte time code (Blu-ray, AVCHD)."""
    for first, stride in ((0, 188), (4, 192)):
        if all(head[at : at + 1] == b"\x47" for at in (first, first + stride, first + 2 * stride)):
            return True
    return False


def _describe(head: bytes) -> str:
    beginning = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for prefix, what in _NOT_VIDEO.items():
        if beginning[: len(prefix)].lower() == prefix.lower():
            return f"begins with {beginning[:16]!r} and is {what}"
    if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in head[:64]):
        return f"is text that begins with {head[:32].decode('ascii')!r}; give the video itself"
    return (
        f"begins with the bytes {head[:12].hex(' ')}; convert it to MP4 (H.264) "
        "or give MP4, MOV, MKV, WebM, AVI, FLV, MPEG, WMV, Ogg or GIF"
    )
