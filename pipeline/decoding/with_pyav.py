"""Frames by PyAV, and what probing shares with it: opening a file, decoding a stream, a frame's RGB pixels."""

from collections.abc import Container, Iterator
from contextlib import suppress
from typing import Any

import av
import av.subtitles.stream  # which opening a file imports, in every child that forks of this
import numpy as np
from av.video.reformatter import VideoReformatter

from pipeline.decoding.orientation import upright
from pipeline.decoding.protocol import END, FRAME, Channel, Refused

_KNOWS_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# In this much video FFmpeg decodes more frames than come, on average, between a key frame and what is searched for.
_FAR_S = 10.0
# Containers are searched in the order of decoding, in which a key frame comes up to 16 frames before its time.
_MARGIN_FRAMES = 32
# Where the container has no index of them, as MPEG-TS, the last key frame is looked for among so many.
_LOOK_BACK_FRAMES = 640
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


def decoded_frames(
    container: Any, stream: Any, request: dict[str, Any], wanted: Container[int] | None = None
) -> Iterator[Any]:
    """Frames in the order of display; an `Exception` in place of what a broken packet would have given.

    ``wanted``: presentation times, in ticks, of the frames that will be used, where every frame has one. Of the others
    those may be missing that no frame is made from: half of H.264's and HEVC's, as they are mostly encoded.
    """
    decoder = _decoder(stream)
    decoder.options = {"max_pixels": str(request["max_pixels"])}
    # Threads report an error some packets late. Videos are decoded beside each other instead.
    decoder.thread_count = 1
    packets = container.demux(stream)
    told, spares = _says_what_is_not_referred_to(decoder), False  # until the first frame has come
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            packet = None
        if packet is None:
            return
        if packet.is_corrupt:
            continue
        if wanted is not None:
            decoder.skip_frame = "NONREF" if spares and packet.pts not in wanted else "DEFAULT"
        try:
            for frame in decoder.decode(packet):
                # The second field of a picture may be a packet with a time of its own, which nobody asks for.
                told = spares = told and not frame.interlaced_frame
                yield frame
        except av.FFmpegError as error:
            yield error


def _says_what_is_not_referred_to(decoder: Any) -> bool:
    """Whether each frame says if any other is made from it. HEVC's say it of their own temporal layer alone."""
    if decoder.name == "hevc":
        # The record in MP4 and Matroska (HEVCDecoderConfigurationRecord of ISO/IEC 14496-15) has the number of layers
        # in its 22nd byte, 0 where it is not known. Other containers have the parameter sets there, which begin with 0.
        record = decoder.extradata or b""
        return len(record) > 21 and record[0] == 1 and record[21] >> 3 & 7 == 1
    return bool(decoder.name == "h264")


def _decoder(stream: Any) -> Any:
    """FFmpeg's own decoder, except for VP8 and VP9 with transparency, which it leaves away."""
    own = stream.codec_context
    knows_alpha = _KNOWS_ALPHA.get(own.name)
    if stream.metadata.get("alpha_mode") == "1" and knows_alpha in av.codecs_available:
        return av.CodecContext.create(knows_alpha, "r")
    return own


def rgb_pixels(frame: Any, request: dict[str, Any]) -> np.ndarray:
    """A decoded frame as (height, width, 3) uint8 RGB: the size asked for, upright, white where it is transparent.

    Its rows may lie apart in memory.
    """
    width, height, rotation = request["width"], request["height"], request["rotation"]
    size = {"width": height, "height": width} if rotation % 180 else {"width": width, "height": height}
    pixels: np.ndarray
    if any(component.is_alpha for component in frame.format.components):
        # Not "rgba", of which FFmpeg's scaler leaves columns unwritten at some widths; channels come in that order too.
        picture = _reformatter.reformat(frame, format="gbrap", **size).to_ndarray()
        alpha = picture[..., 3:].astype(np.uint16)
        pixels = ((picture[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    else:
        (plane,) = _reformatter.reformat(frame, format="rgb24", **size).planes
        # Where it lies: its rows are mostly longer than they look.
        strides = plane.line_size, 3, 1
        pixels = np.ndarray((plane.height, plane.width, 3), np.uint8, memoryview(plane), strides=strides)
    return upright(pixels, rotation, request["mirrored"]) if rotation or request["mirrored"] else pixels


class _NotFound(Exception):
    """The search did not lead to where decoding can begin."""


def decode_with_pyav(request: dict[str, Any], timestamps: np.ndarray, wanted: np.ndarray, channel: Channel) -> None:
    """Send the wanted frames; where one cannot be decoded, the picture that stays on screen in its place.

    What is far from the frame before it is searched for, if the file allows it: decoding begins at the key frame in
    front of it, and what lies between is passed over. Frames that neither are wanted nor have others made from them are
    not decoded, unless the file is known to be damaged: any of them may have to stay on screen then.
    """
    left, reached, searches, cause = wanted[request["first"] :], -1, not request["ordinal"], None
    everything = request["ordinal"] or request["truncated"] or len(wanted) == len(timestamps)
    times = None if everything else set(timestamps[wanted].tolist())
    while len(left):
        run, far = _until_next_gap(left, timestamps, request) if searches else (left, False)
        try:
            with open_container(request) as container:
                shown = _shown(container, timestamps, times, request, channel)
                if far:
                    _search(container, timestamps, int(run[0]), request)
                    shown = _from_key_frame(shown, reached, int(run[0]))
                sent, cause = _send(shown, run, request, channel)
        except _NotFound:
            searches = False
            continue
        left, reached = left[sent:], int(run[-1])
        if sent < len(run):
            break
    if len(left) == len(wanted):
        raise Refused(f"no frame of it can be decoded ({cause})")
    channel.send(END)


def _until_next_gap(left: np.ndarray, timestamps: np.ndarray, request: dict[str, Any]) -> tuple[np.ndarray, bool]:
    """Those of the frames that come close after one another, and whether the first is far from the video's."""
    seconds = (timestamps[left] - timestamps[0]) * (request["time_base"][0] / request["time_base"][1])
    gaps = np.flatnonzero(np.diff(seconds) > _FAR_S)
    return left[: gaps[0] + 1] if len(gaps) else left, bool(seconds[0] > _FAR_S)


def _search(container: Any, timestamps: np.ndarray, place: int, request: dict[str, Any]) -> None:
    """Go to a key frame in front of ``place``, or shortly before it; where none is near, to the beginning."""
    target = max(0, place - _MARGIN_FRAMES)
    if next(_key_frames(container, timestamps, target, place, request), None) is None:
        found = [*_key_frames(container, timestamps, max(0, place - _LOOK_BACK_FRAMES), place, request)]
        target = max(0, found[-1] - _MARGIN_FRAMES) if found else 0
    _seek(container, timestamps, target, request)


def _key_frames(
    container: Any, timestamps: np.ndarray, first: int, last: int, request: dict[str, Any]
) -> Iterator[int]:
    """Places of key frames up to ``last``, from where seeking ``first`` leads, as the container has them."""
    packets = container.demux(_seek(container, timestamps, first, request))
    with suppress(av.FFmpegError):
        for packet in packets:
            # In the order of decoding, in which a frame comes no later than it is shown.
            if packet.dts is not None and packet.dts > timestamps[last]:
                return
            if packet.is_keyframe and packet.pts is not None and packet.pts <= timestamps[last]:
                yield _place(timestamps, packet.pts)


def _seek(container: Any, timestamps: np.ndarray, place: int, request: dict[str, Any]) -> Any:
    stream = container.streams[request["stream"]]
    try:
        container.seek(int(timestamps[place]), stream=stream)
    except av.FFmpegError as error:
        raise _NotFound from error
    return stream


def _shown(
    container: Any, timestamps: np.ndarray, times: set[int] | None, request: dict[str, Any], channel: Channel
) -> Iterator[tuple[int, Any]]:
    """Frames and their places among the video's; an `Exception` in place of what a broken packet would have given."""
    place = -1
    for frame in decoded_frames(container, container.streams[request["stream"]], request, times):
        channel.tick()
        if isinstance(frame, Exception) or request["ordinal"] or frame.pts is None:
            place += 1
        else:
            place = _place(timestamps, frame.pts)
        yield place, frame


def _place(timestamps: np.ndarray, pts: int) -> int:
    return int(np.searchsorted(timestamps, pts, side="right")) - 1


def _from_key_frame(shown: Iterator[tuple[int, Any]], reached: int, latest: int) -> Iterator[tuple[int, Any]]:
    """The first key frame and what comes after it. What comes before it is made from frames that were passed over.

    One that lies where decoding has been before saves nothing: with few key frames all would be decoded many times.
    """
    for place, frame in shown:
        if not isinstance(frame, Exception) and frame.key_frame:
            if frame.pts is None or frame.is_corrupt or not reached < place <= latest:
                break
            yield place, frame
            yield from shown
            return
    raise _NotFound


def _send(
    shown: Iterator[tuple[int, Any]], wanted: np.ndarray, request: dict[str, Any], channel: Channel
) -> tuple[int, Exception | None]:
    """How many of the wanted frames were sent, and the last error."""
    sent, previous, cause = 0, None, None
    for place, frame in shown:
        if isinstance(frame, Exception):
            cause = frame
            continue
        while sent < len(wanted) and wanted[sent] < place:
            channel.send(FRAME, rgb_pixels(previous or frame, request))
            sent += 1
        if sent < len(wanted) and wanted[sent] == place:
            channel.send(FRAME, rgb_pixels(frame, request))
            sent += 1
        if sent == len(wanted):
            break
        previous = frame
    return sent, cause
