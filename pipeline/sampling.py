"""Which source frame is on screen at each output frame's time."""

import numpy as np

# Matroska and FLV round presentation times to a millisecond: a frame that is due at 41.708 ms is stored as 42.
# Without this much grace, sampling at the source's own rate would repeat some frames and drop others.
ROUNDING_S = 1e-3


def sample_indices(timestamps: np.ndarray, duration: float, fps: float) -> np.ndarray:
    """Source frames for a constant output rate that lasts as long as the source.

    Args:
        timestamps: (N,) presentation times in seconds, rising. The first one is the output's time zero.
        duration: seconds from the first frame's appearance to the last one's end.
        fps: output frames a second.

    Returns:
        (max(1, round(duration * fps)),) int64, never falling: entry i is the frame on screen at time i / fps.
    """
    count = max(1, round(duration * fps))
    return _latest(timestamps, timestamps[0] + np.arange(count) / fps + ROUNDING_S)


def frames_at(timestamps: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(M,) int64: which of the frames that appear at rising (N,) ``timestamps`` is on screen at each of (M,) ``times``.

    Before the first frame it is the first. A frame is there up to ``ROUNDING_S`` early, but no more than half of the
    way from the frame before it: its own time finds it, not the next one, in videos of a thousand frames a second too.
    """
    early = np.minimum(ROUNDING_S, np.diff(timestamps, prepend=timestamps[0]) / 2)
    return _latest(timestamps - early, times)


def _latest(timestamps: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(M,) int64: the last of (N,) ``timestamps`` that is not after each of the ``times``; before the first, that."""
    shown = np.searchsorted(timestamps, times, side="right") - 1
    return np.clip(shown, 0, len(timestamps) - 1).astype(np.int64)
