"""Which frames each window sees. Pure; a window is a tuple of frame indices that begins with the reference frame 0.

The network was trained with the reference picture's own pose as its first frame, so every window starts with frame 0
and the driving frames 1..F-1 are dealt out behind it.
"""

from __future__ import annotations

Windows = tuple[tuple[int, ...], ...]


def balanced_windows(frames: int, window: int, overlap: int) -> Windows:
    """As few windows as hold ``frames`` frames, as even in length as can be, neighbours sharing ``overlap`` frames.

    Lengths differ by at most one, none exceeds ``window`` (the reference frame counted), and the fewest frames are
    computed twice: one driving frame too many for one window costs ``overlap`` more frames, not a second full window.
    Raises ``ValueError`` when the numbers cannot work.
    """
    _check(frames, window, overlap, window - 2)
    driving, capacity = frames - 1, window - 1
    if driving <= capacity:
        return (tuple(range(frames)),)
    count = -(-(driving - overlap) // (capacity - overlap))
    short, longer = divmod(driving + (count - 1) * overlap, count)
    windows, start = [], 1
    for index in range(count):
        length = short + (index < longer)
        windows.append((0, *range(start, start + length)))
        start += length - overlap
    return tuple(windows)


def released_windows(frames: int, window: int, overlap: int) -> Windows:
    """The released code's windows: stride ``window - overlap``, the last one full and moved back to end the video.

    Position 0 is spent on the reference frame, so neighbours share ``overlap - 1`` driving frames. Where the released
    code crashes or leaves frames out, this does not: a video shorter than a window is one short window, and overlap 0
    strides by ``window - 1`` so that no frame is skipped. Raises ``ValueError`` when the numbers cannot work.
    """
    _check(frames, window, overlap, window - 1)
    if frames <= window:
        return (tuple(range(frames)),)
    stride = min(window - overlap, window - 1)
    windows = [(0, *range(start + 1, start + window)) for start in range(0, frames - window + 1, stride)]
    if windows[-1][-1] < frames - 1:
        windows.append((0, *range(frames - window + 1, frames)))
    return tuple(windows)


def _check(frames: int, window: int, overlap: int, most: int) -> None:
    if frames < 1:
        raise ValueError(f"frames is {frames}, expected at least the reference frame")
    if window < 2:
        raise ValueError(f"window is {window}, expected at least 2: the reference frame and one driving frame")
    if not 0 <= overlap <= most:
        raise ValueError(f"overlap is {overlap}, expected 0 to {most} for a window of {window}")
