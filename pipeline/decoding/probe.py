"""What a video holds and when each of its frames is shown."""

import json
import os
import struct
import zlib
from array import array
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.stream
import numpy as np
import numpy.ma  # np.unique imports it when it is first called: 10 ms in every child that forks of this
from av.sidedata.sidedata import Type

from pipeline.decoding.orientation import orientation
from pipeline.decoding.protocol import INFO, TIMES, Channel, Refused
from pipeline.decoding.with_pyav import decoded_frames, open_container, rgb_pixels

# Containers round the end of a stream; audio ends up to a packet before the video does.
_END_SLACK_S = 0.5


def probe(request: dict[str, Any], channel: Channel) -> None:
    """Send what the file holds, and when each of its frames is shown (in ticks of the stream's time base)."""
    with open_container(request) as container:
        streams = _video_streams(container)
        if not streams:
            raise Refused("it has no video stream. Give a file with moving pictures")
        stream = streams[0]
        if stream.codec_context is None:
            raise Refused("no decoder is known for its video stream. Convert it to MP4 (H.264)")
        _check_size(stream.codec_context.width, stream.codec_context.height, request)
        _check_length((container.duration or 0) / 1e6, stream.frames, request)
        frame, cause = None, None
        for item in decoded_frames(container, stream, request):
            channel.tick()
            if not isinstance(item, Exception):
                frame = item
                break
            cause = item
        if frame is None:
            raise Refused(f"no frame of it can be decoded ({cause or 'it holds none'}). Export it again")
        _check_size(frame.width, frame.height, request)
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        width = max(1, round(frame.width * aspect))
        _check_size(width, frame.height, request)
        rotation, mirrored = orientation(_display_matrix(frame))
        # decord is let near what it was found to decode pixel for pixel as PyAV does, and nothing else: it guesses
        # the stream where there are several, and its older scaler treats odd sizes and deep colour differently.
        plain = (
            len(container.streams.video) == 1
            and frame.format.name in ("yuv420p", "yuvj420p", "yuv422p", "yuv444p")
            and frame.width % 2 == 0
            and frame.height % 2 == 0
            and aspect == 1
            and not mirrored
            and (rotation == 0 or request["container"] == "mov")
            and request["container"] in ("mov", "matroska", "avi", "flv", "asf")
        )
        info = {
            "width": frame.height if rotation % 180 else width,
            "height": width if rotation % 180 else frame.height,
            "rotation": rotation,
            "mirrored": mirrored,
            "has_audio": bool(container.streams.audio),
            "codec": stream.codec_context.name,
            "pixel_format": frame.format.name,
            "stream": stream.index,
        }
        info["first_picture"] = zlib.crc32(np.ascontiguousarray(rgb_pixels(frame, info)).data)
    timestamps, timing = _index(request, info["stream"], channel)
    info["plain"] = plain and not timing["truncated"]
    channel.send(INFO, json.dumps(info | timing).encode())
    channel.send(TIMES, timestamps)


def _display_matrix(frame: Any) -> bytes | None:
    found = frame.side_data.get(Type.DISPLAYMATRIX)
    return None if found is None else bytes(found)


def _index(request: dict[str, Any], stream_index: int, channel: Channel) -> tuple[np.ndarray, dict[str, Any]]:
    """One pass over the packets, decoding none: display times of the frames that are really there."""
    times = array("q")
    last, last_duration, end_s, discarded = None, 0, 0.0, 0
    # AVI stores no presentation times: FFmpeg's are in decoding order, which B-frames shuffle.
    ordinal, damaged = request["container"] == "avi", False
    with open_container(request) as container:
        stream = container.streams[stream_index]
        base = stream.time_base
        for packet in _packets(container):
            channel.tick()
            shown = packet.dts if packet.pts is None else packet.pts
            if shown is not None:
                end_s = max(end_s, float((shown + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index != stream_index:
                continue
            if packet.is_discard or packet.is_corrupt:
                discarded += packet.is_discard
                damaged |= packet.is_corrupt
                continue
            ordinal |= packet.pts is None
            if shown is None:
                shown = round(len(times) / (stream.average_rate or 25) / base)
            times.append(shown)
            if last is None or shown >= last:
                last, last_duration = shown, packet.duration or 0
            _check_length(0, len(times), request)
        declared_frames, rate = stream.frames, stream.average_rate
        declared_end_s = ((container.start_time or 0) + (container.duration or 0)) / 1e6
    if not times:
        raise Refused("no frame of it can be read; the file is cut short. Fetch or export it again")
    timestamps = np.unique(np.frombuffer(times, np.int64))
    if not last_duration:
        last_duration = round(1 / rate / base) if rate else 0
    duration_s = float((int(timestamps[-1] - timestamps[0]) + last_duration) * base) or 1 / 25
    _check_length(duration_s, len(timestamps), request)
    # AVI's header counts one or two that are not there, so only many are a sign. MP4 counts its frames exactly, also
    # those that an edit list hides, as in what was trimmed on a phone.
    counts_exactly = request["container"] == "mov"
    missing = declared_frames - len(times) - discarded > (0 if counts_exactly else 2)
    cut_short = missing and not (counts_exactly and _is_complete(request["path"]))
    truncated = damaged or end_s < declared_end_s - _END_SLACK_S or cut_short
    return timestamps, {
        "time_base": [base.numerator, base.denominator],
        "duration_s": duration_s,
        "ordinal": ordinal,
        "truncated": truncated,
    }


def _is_complete(path: str) -> bool:
    """Whether an MP4's last box ends where the file does. One that has no length of its own proves nothing."""
    with open(path, "rb") as file:
        at, end = 0, file.seek(0, os.SEEK_END)
        while at < end:
            file.seek(at)
            length, _, long_length = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
            length = long_length if length == 1 else length
            if length < 8:
                return False
            at += length
    return at == end


def _video_streams(container: Any) -> list[Any]:
    """Moving pictures only: a song's cover art is a video stream too."""
    cover = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & cover]


def _packets(container: Any) -> Iterator[Any]:
    """Packets with something in them, up to the end or to where the file can be read no further."""
    try:
        for packet in container.demux():
            if packet.size:
                yield packet
    except av.FFmpegError:
        return


def _check_size(width: int, height: int, request: dict[str, Any]) -> None:
    if width <= 0 or height <= 0:
        # FFmpeg forgets a size that is beyond the limit that it was given.
        raise Refused(
            f"it declares no picture size, or one of more than the limit of {request['max_pixels']} pixels. "
            "Scale it down, or export it again"
        )
    if max(width, height) > request["max_aspect"] * min(width, height):
        raise Refused(
            f"its frames are {width}x{height}, longer than {request['max_aspect']} times their other side. Crop it"
        )
    if width * height > request["max_pixels"]:
        raise Refused(
            f"its frames are {width}x{height}, more than the limit of {request['max_pixels']} pixels. Scale it down"
        )


def _check_length(seconds: float, frames: int, request: dict[str, Any]) -> None:
    if seconds > request["max_duration_s"]:
        raise Refused(f"it lasts {seconds:.1f} s, longer than the limit of {request['max_duration_s']:g} s. Cut it")
    if frames > request["max_frames"]:
        raise Refused(f"it has more than {request['max_frames']} frames, the limit. Cut it")
