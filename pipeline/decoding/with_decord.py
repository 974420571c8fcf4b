"""Frames by decord: fast, no longer maintained, and believed only where it agrees with the index."""

import zlib
from typing import Any

import decord
import numpy as np

from pipeline.decoding.protocol import END, FRAME, Channel, Refused

# Any other number would let decord hand out a neighbour in place of a frame that it could not decode.
_FAULT_TOLERANCE = 1e-6
# Two take a fifth more of a core for the same frames, and were not seen to give them sooner.
_THREADS = 1


def decode_with_decord(request: dict[str, Any], timestamps: np.ndarray, channel: Channel) -> None:
    """Send every frame, or refuse the file: then its frames are to be read by PyAV."""
    reader = decord.VideoReader(request["path"], num_threads=_THREADS, fault_tol=_FAULT_TOLERANCE)
    if len(reader) != len(timestamps):
        raise Refused(f"counts {len(reader)} frames where the packets hold {len(timestamps)}")
    seconds = reader.get_frame_timestamp(np.arange(len(reader)))[:, 0].astype(np.float64)
    expected = (timestamps - timestamps[0]) * (request["time_base"][0] / request["time_base"][1])
    # decord's times are float32, a millisecond apart after two hours.
    if np.abs(seconds - seconds[0] - expected).max() > 2e-3:
        raise Refused("its frame times are not those of the packets")
    # decord owns up to a frame that it made up from a neighbour only on the call after. So each one waits for the next.
    held: np.ndarray | None = None
    for _ in timestamps:
        pixels = reader.next().asnumpy()
        if pixels.shape != (request["height"], request["width"], 3):
            raise Refused(f"gives a frame of shape {pixels.shape}")
        if held is not None:
            channel.send(FRAME, held)
        # Where a file cannot be searched, decord begins at a later key frame and numbers on from there.
        elif zlib.crc32(pixels.data) != request["first_picture"]:
            raise Refused("its first frame is not the video's first")
        held = pixels
    channel.send(FRAME, held)
    channel.send(END)
