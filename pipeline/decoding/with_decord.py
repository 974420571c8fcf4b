"""Frames by decord: fast, no longer maintained, and believed only where it agrees with the index."""

import zlib
from typing import Any

import decord
import numpy as np

from pipeline.decoding.protocol import END, FRAME, Channel, Refused

# Frames that decord passes over in one call: few enough to report life in between.
_SKIP_AT_ONCE = 32
# Any other number would let decord hand out a neighbour in place of a frame that it could not decode.
_FAULT_TOLERANCE = 1e-6
# Two take a fifth more of a core for the same frames, and were not seen to give them sooner.
_THREADS = 1


def decode_with_decord(request: dict[str, Any], timestamps: np.ndarray, wanted: np.ndarray, channel: Channel) -> None:
    """Send the wanted frames, or refuse the file: then its frames are to be read by PyAV."""
    reader = decord.VideoReader(request["path"], num_threads=_THREADS, fault_tol=_FAULT_TOLERANCE)
    if len(reader) != len(timestamps):
        raise Refused(f"counts {len(reader)} frames where the packets hold {len(timestamps)}")
    seconds = reader.get_frame_timestamp(np.arange(len(reader)))[:, 0].astype(np.float64)
    expected = (timestamps - timestamps[0]) * (request["time_base"][0] / request["time_base"][1])
    # decord's times are float32, a millisecond apart after two hours.
    if np.abs(seconds - seconds[0] - expected).max() > 2e-3:
        raise Refused("its frame times are not those of the packets")
    position = 0
    # decord owns up to a frame that it made up from a neighbour only on the call after. So each one waits for the next.
    held: np.ndarray | None = None
    for source in wanted[request["first"] :].tolist():
        while position < source:
            step = min(source - position, _SKIP_AT_ONCE)
            reader.skip_frames(step)
            position += step
            channel.tick()
        pixels = reader.next().asnumpy()
        position += 1
        if pixels.shape != (request["height"], request["width"], 3):
            raise Refused(f"gives a frame of shape {pixels.shape}")
        # Where a file cannot be searched, decord begins at a later key frame and numbers on from there.
        if source == 0 and zlib.crc32(pixels.data) != request["first_picture"]:
            raise Refused("its first frame is not the video's first")
        if held is not None:
            channel.send(FRAME, held)
        held = pixels
    if held is not None:
        if position < len(reader):
            reader.next()
        channel.send(FRAME, held)
    channel.send(END)
