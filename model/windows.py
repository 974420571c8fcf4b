"""Which frames each window sees. Pure; a window is a tuple of frame indices that begins with the reference frame 0.

The network was trained with the reference picture's own pose as its first frame, so every window starts with frame 0
and the driving frames 1..F-1 are dealt out behind it.
"""

from __future__ import annotations

Windows = tuple[tuple[int, ...], ...]

SHIFT = 0.38
"""By what part of their stride ``shifted_windows`` move with every step."""


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


def shifted_windows(frames: int, window: int, overlap: int, step: int) -> Windows:
    """Full windows whose places move from step to step, so that no frame is at a border twice running.

    They stand every ``window - 1 - overlap`` driving frames; step s moves them all by 0.38 of that, s times, modulo it
    (near the golden section, so that the places of few steps are spread evenly). The windows that reach over an end of
    the video are cut there; one of which less than half is left is lengthened inwards, since the network does badly
    with short windows. Raises ``ValueError`` when the numbers cannot work.
    """
    _check(frames, window, overlap, window - 2)
    driving, capacity = frames - 1, window - 1
    if driving <= capacity:
        return (tuple(range(frames)),)
    stride = capacity - overlap
    offset = round(SHIFT * stride * step) % stride
    shortest = -(-capacity // 2)
    windows: list[tuple[int, ...]] = []
    start = 1 + offset - (stride if offset else 0)
    while not windows or windows[-1][-1] < frames - 1:
        first, last = max(start, 1), min(start + capacity, frames)
        if start < 1:
            last = max(last, first + shortest)
        if last == frames:
            first = min(first, frames - shortest)
        windows.append((0, *range(first, last)))
        start += stride
    return tuple(windows)


def chunks(frames: int, chunk: int, overlap: int) -> list[tuple[int, int]]:
    """(start, stop) of every chunk that is decoded at once; neighbours share ``overlap`` frames.

    Overlap 0 cuts as the released code does.
    Raises ``ValueError`` unless 0 <= overlap < chunk and there is a frame.
    """
    if frames < 1:
        raise ValueError(f"frames is {frames}, expected at least 1")
    if not 0 <= overlap < chunk:
        raise ValueError(f"decode overlap is {overlap}, expected 0 to {chunk - 1} for chunks of {chunk}")
    starts = range(0, max(frames - overlap, 1), chunk - overlap)
    return [(start, min(start + chunk, frames)) for start in starts]


def _check(frames: int, window: int, overlap: int, most: int) -> None:
    if frames < 1:
        raise ValueError(f"frames is {frames}, expected at least the reference frame")
    if window < 2:
        raise ValueError(f"window is {window}, expected at least 2: the reference frame and one driving frame")
    if not 0 <= overlap <= most:
        raise ValueError(f"overlap is {overlap}, expected 0 to {most} for a window of {window}")
