"""Frames by PyAV, and what probing shares with it: opening a file, decoding a stream, a frame's RGB pixels."""

from collections.abc import Iterator
from typing import Any

import av
import av.subtitles.stream  # which opening a file imports, in every child that forks of this
import numpy as np
from av.video.reformatter import VideoReformatter

from pipeline.decoding.orientation import upright
from pipeline.decoding.protocol import END, FRAME, Channel, Refused

_KNOWS_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# One for all frames of the file: a frame left to itself has FFmpeg's scaler set up for it anew, which takes longer than
# its conversion.
_reformatter = VideoReformatter()


def open_container(request: dict[str, Any]) -> Any:
    """The file, opened with the demuxer that was judged from its first bytes, and no way to open another."""
    try:
        return av.open(
            request["path"],
            format=request["container"],
            container_options={"protocol_whitelist": "file"},
            options={"max_pixels": str(request["max_pixels"])},
            metadata_errors="replace",
        )
    except av.FFmpegError as error:
        raise Refused(
            f"its header cannot be read ({error.strerror}); the file is damaged or cut short. Fetch or export it again"
        ) from error


def decoded_frames(container: Any, stream: Any, request: dict[str, Any]) -> Iterator[Any]:
    """Frames in the order of display; an `Exception` in place of what a broken packet would have given."""
    decoder = _decoder(stream)
    decoder.options = {"max_pixels": str(request["max_pixels"])}
    # Threads report an error some packets late. Videos are decoded beside each other instead.
    decoder.thread_count = 1
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            packet = None
        if packet is None:
            return
        if packet.is_corrupt:
            continue
        try:
            yield from decoder.decode(packet)
        except av.FFmpegError as error:
            yield error


def _decoder(stream: Any) -> Any:
    """FFmpeg's own decoder, except for VP8 and VP9 with transparency, which it leaves away."""
    own = stream.codec_context
    knows_alpha = _KNOWS_ALPHA.get(own.name)
    if stream.metadata.get("alpha_mode") == "1" and knows_alpha in av.codecs_available:
        return av.CodecContext.create(knows_alpha, "r")
    return own


def rgb_pixels(frame: Any, request: dict[str, Any]) -> np.ndarray:
    """A decoded frame as (height, width, 3) uint8 RGB: the size asked for, upright, white where it is transparent."""
    width, height, rotation = request["width"], request["height"], request["rotation"]
    size = {"width": height, "height": width} if rotation % 180 else {"width": width, "height": height}
    pixels: np.ndarray
    if any(component.is_alpha for component in frame.format.components):
        # Not "rgba", of which FFmpeg's scaler leaves columns unwritten at some widths; channels come in that order too.
        picture = _reformatter.reformat(frame, format="gbrap", **size).to_ndarray()
        alpha = picture[..., 3:].astype(np.uint16)
        pixels = ((picture[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    else:
        pixels = _reformatter.reformat(frame, format="rgb24", **size).to_ndarray()
    return upright(pixels, rotation, request["mirrored"])


def decode_with_pyav(request: dict[str, Any], timestamps: np.ndarray, wanted: np.ndarray, channel: Channel) -> None:
    """Send the wanted frames; where one cannot be decoded, the picture that stays on screen in its place."""
    sent, place, previous, cause = request["first"], -1, None, None
    with open_container(request) as container:
        for frame in decoded_frames(container, container.streams[request["stream"]], request):
            channel.tick()
            if isinstance(frame, Exception):
                cause = frame
                place += 1
                continue
            if request["ordinal"] or frame.pts is None:
                place += 1
            else:
                place = int(np.searchsorted(timestamps, frame.pts, side="right")) - 1
            while sent < len(wanted) and wanted[sent] < place:
                channel.send(FRAME, rgb_pixels(previous or frame, request))
                sent += 1
            if sent < len(wanted) and wanted[sent] == place:
                channel.send(FRAME, rgb_pixels(frame, request))
                sent += 1
            if sent == len(wanted):
                break
            previous = frame
    if sent == 0:
        raise Refused(f"no frame of it can be decoded ({cause})")
    channel.send(END)
