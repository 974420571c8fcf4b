"""Driving videos: what a file holds, and its frames one at a time.

    with read_frames(path, fps=15) as frames:
        for frame in frames:
            frame.index, frame.pts_s, frame.pixels   # pixels: (H, W, 3) uint8 RGB

Every byte of the file is parsed in a child process that can be lost. Where every frame of a small clip is wanted decord
decodes first: it converts one while it decodes the next, and is done a quarter sooner. PyAV goes on where decord
crashed, hung or gave up, and reads long videos, what decord was not found to read well, and where frames are left out:
it takes about as long for those then, and a fifth less of a core, a third where a model works beside it.

Frames are turned and mirrored as the file asks for, and have square pixels (so a person keeps their proportions). Where
the video has transparency the picture lies on white, as it does for reference images. Deeper colour becomes 8 bits by
FFmpeg's own conversion, with the stream's colour matrix; HDR is not tone-mapped.
"""

import json
import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from pipeline.decoding.client import DecoderDied, DecoderProcess, DecoderRefused
from pipeline.decoding.containers import VideoError, sniff_container
from pipeline.decoding.protocol import FRAME
from pipeline.sampling import frames_at, sample_indices

__all__ = ["Frame", "FrameReader", "VideoError", "VideoInfo", "VideoLimits", "probe_video", "read_frames"]

_INFO_BYTES = 1 << 16
# While its first frame is on the way, decord takes in packets without limit (450 of them were seen), and then holds
# their pictures until they are asked for. So it reads what would fit into this altogether, and PyAV what is longer.
_DECORD_BYTES = 1 << 30

DEADLINE_S = 60.0
"""Longest time in seconds that a reading process may give no sign of life, unless the caller says otherwise."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoLimits:
    """The largest video that is read. Checked against what the file declares before memory is taken for it."""

    max_pixels: int = 8192 * 4320
    max_aspect: int = 32
    max_duration_s: float = 4 * 3600.0
    max_frames: int = 1_000_000


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    `width` and `height` are those of the delivered frames, in pixels, after rotation. `rotation` is what was turned, in
    degrees counter-clockwise, after what is `mirrored` had been, left to right. `start_s` is the first frame's time on
    the file's clock, on which audio may begin earlier. `duration_s` runs from there to the end of the last frame; `fps`
    is the mean rate. `truncated`: the file ends before its own header says.
    """

    duration_s: float
    fps: float
    width: int
    height: int
    frames: int
    start_s: float
    rotation: int
    mirrored: bool
    has_audio: bool
    container: str
    codec: str
    pixel_format: str
    truncated: bool


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture: its place in the output, its source's time on the file's clock, and (H, W, 3) uint8 RGB."""

    index: int
    pts_s: float
    pixels: np.ndarray


@dataclass(frozen=True)
class _Index:
    """A probed file: its facts, its frames' times in ticks, and what a decoder has to be told to read it."""

    info: VideoInfo
    timestamps: np.ndarray
    seconds: np.ndarray
    plain: bool
    request: dict[str, Any]


def probe_video(path: str | Path, *, limits: VideoLimits | None = None, deadline_s: float = DEADLINE_S) -> VideoInfo:
    """Read what a local video file holds: its header, its first frame, and one pass over its packets.

    Args:
        deadline_s: longest time in seconds that the reading process may give no sign of life.

    Raises:
        VideoError: the file is not an accepted video, is beyond the limits, or cannot be read.
    """
    index, child = _probe(Path(path), limits or VideoLimits(), deadline_s)
    child.close()
    return index.info


def read_frames(
    path: str | Path,
    fps: float | None = None,
    *,
    at_s: Sequence[float] | None = None,
    stride: int = 1,
    limits: VideoLimits | None = None,
    deadline_s: float = DEADLINE_S,
) -> "FrameReader":
    """Open a local video file for reading frame by frame, in memory that does not grow with its length.

    Args:
        fps: output frames a second. The output then has `round(duration * fps)` frames, at least one, and output
            frame i is what is on screen i / fps seconds after the first frame appears. None goes by `stride`.
        stride: without `fps`, every how many of the video's own frames one is given; 1 gives every frame once.
        at_s: instead of a rate, rising times in seconds on the file's clock: what is on screen then.
        deadline_s: longest time in seconds that the reading process may give no sign of life. Past it, decord is given
            up for PyAV, and PyAV is given up for good.

    Raises:
        VideoError: as for `probe_video`. Reading raises it too, where no decoder can go on.
        ValueError: `fps` or `stride` is not a positive number, or `at_s` are not rising times.
    """
    if stride < 1:
        raise ValueError(f"stride is {stride}; give a whole number from 1")
    if fps is not None and not 0 < fps < float("inf"):
        raise ValueError(f"fps is {fps}; give a positive number of frames a second, or None for every frame")
    times = None if at_s is None else np.asarray(at_s, np.float64)
    if times is not None and not (np.isfinite(times).all() and (np.diff(times) >= 0).all()):
        raise ValueError("at_s is not rising; give times in seconds, none before the one in front of it")
    path, limits = Path(path), limits or VideoLimits()
    index, child = _probe(path, limits, deadline_s)
    if times is not None:
        sources = frames_at(index.seconds, times)
    elif fps is None:
        sources = np.arange(0, len(index.timestamps), stride)
    elif index.info.duration_s * fps > limits.max_frames:
        child.close()
        raise VideoError(
            f"{path}: {index.info.duration_s:.0f} s at {fps:g} fps are more than {limits.max_frames} frames, "
            "the limit. Cut it, or ask for a lower rate."
        )
    else:
        sources = sample_indices(index.seconds, index.info.duration_s, fps)
    return FrameReader(path, index, sources, fps or index.info.fps / stride, deadline_s, child)


class FrameReader(Iterator[Frame]):
    """The frames of one video, in order, once. Use it as a context manager, so that its process ends with it.

    Attributes:
        info: what the file holds.
        sources: (n,) which source frame each output frame shows.
        fps: output frames a second, the mean where they go by the video's own.
        truncated: the file ended before its header or its index said; what could be read was delivered. Final once the
            frames are all read.
        decoder: which library is decoding, "decord" or "PyAV".
    """

    def __init__(
        self, path: Path, index: _Index, sources: np.ndarray, fps: float, deadline_s: float, prober: DecoderProcess
    ) -> None:
        self.info = index.info
        self.sources = sources
        self.fps = fps
        self.truncated = index.info.truncated
        self._path = path
        self._index = index
        self._wanted = np.unique(sources)
        self._deadline_s = deadline_s
        self._frame_bytes = self.info.height * self.info.width * 3
        small = self.info.frames * self._frame_bytes <= _DECORD_BYTES
        every = len(self._wanted) == self.info.frames
        self._decoders = ["decord", "PyAV"] if index.plain and small and every and find_spec("decord") else ["PyAV"]
        self.decoder = self._decoders.pop(0)
        self._failures: list[str] = []
        self._received = 0
        self._process: DecoderProcess | None = None
        # It has PyAV, and the file's pages at hand.
        self._prober: DecoderProcess | None = prober
        if self.decoder != "PyAV":
            self._end_process()
        self._frames = self._read()
        if self.truncated:
            logger.warning("%s ends before its header says; its %d readable frames are used", path, self.info.frames)

    def __len__(self) -> int:
        """Frames that there will be; fewer come where the file turns out to be damaged (see `truncated`)."""
        return len(self.sources)

    def __next__(self) -> Frame:
        return next(self._frames)

    def __enter__(self) -> "FrameReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the reading process. May be called again."""
        self._frames.close()
        self._end_process()

    def _end_process(self) -> None:
        for process in (self._process, self._prober):
            if process is not None:
                process.close()
        self._process = self._prober = None

    def _read(self) -> Generator[Frame, None, None]:
        pixels: np.ndarray | None = None
        shown = -1
        for index, source in enumerate(self.sources.tolist()):
            if source == shown:
                assert pixels is not None
                pixels = pixels.copy()
            else:
                pixels = self._next_picture()
                shown = source
            if pixels is None:
                self.truncated = True
                logger.warning("%s: decoding ended after %d of %d frames", self._path, index, len(self.sources))
                break
            yield Frame(index, float(self._index.seconds[source]), pixels)
        self._end_process()

    def _next_picture(self) -> np.ndarray | None:
        """The next wanted picture from whichever decoder gives it; None where the video has no more."""
        while True:
            try:
                kind, payload = (self._process or self._start()).receive(_INFO_BYTES)
                if kind == FRAME:
                    self._received += 1
                    return np.frombuffer(payload, np.uint8).reshape(self.info.height, self.info.width, 3)
                if not self._decoders:
                    return None
                raise DecoderDied("ended early")
            except (DecoderDied, DecoderRefused) as failure:
                self._change_decoder(failure)

    def _change_decoder(self, failure: Exception) -> None:
        self._failures.append(f"{self.decoder}: {failure}")
        self._end_process()
        if not self._decoders:
            raise VideoError(
                f"{self._path}: decoding failed after {self._received} frames: {'; then '.join(self._failures)}. "
                "Convert it to MP4 (H.264) and try again."
            ) from failure
        logger.warning("%s: %s; PyAV goes on after %d frames", self._path, self._failures[-1], self._received)
        self.decoder = self._decoders.pop(0)

    def _start(self) -> DecoderProcess:
        self._process, self._prober = self._prober or DecoderProcess(self.decoder, self._deadline_s), None
        self._process.ask(
            self._index.request | {"task": self.decoder, "first": self._received},
            self.info.width * self.info.height,
            (self._index.timestamps, self._wanted),
            self._frame_bytes,
        )
        return self._process


def _probe(path: Path, limits: VideoLimits, deadline_s: float) -> tuple[_Index, DecoderProcess]:
    """What the file holds, and the child that has found it, which can be asked for its frames."""
    request: dict[str, Any] = {
        # Absolute, so that no name can be taken for a protocol or an option.
        "path": str(path.absolute()),
        "container": sniff_container(path),
        "max_pixels": limits.max_pixels,
        "max_aspect": limits.max_aspect,
        "max_duration_s": limits.max_duration_s,
        "max_frames": limits.max_frames,
    }
    try:
        with ExitStack() as ending:
            child = ending.enter_context(DecoderProcess("PyAV", deadline_s))
            child.ask(request | {"task": "probe"}, limits.max_pixels)
            facts = json.loads(bytes(child.receive(_INFO_BYTES)[1]))
            timestamps = np.frombuffer(child.receive(8 * limits.max_frames)[1], np.int64)
            ending.pop_all()
    except DecoderRefused as refusal:
        raise VideoError(f"{path}: {refusal}.") from refusal
    except DecoderDied as death:
        raise VideoError(
            f"{path}: the process that reads the video's header {death}. The file may be damaged; export it again."
        ) from death
    tick_s = facts["time_base"][0] / facts["time_base"][1]
    seconds = timestamps * tick_s
    info = VideoInfo(
        duration_s=facts["duration_s"],
        fps=len(timestamps) / facts["duration_s"],
        width=facts["width"],
        height=facts["height"],
        frames=len(timestamps),
        start_s=float(seconds[0]),
        rotation=facts["rotation"],
        mirrored=facts["mirrored"],
        has_audio=facts["has_audio"],
        container=request["container"],
        codec=facts["codec"],
        pixel_format=facts["pixel_format"],
        truncated=facts["truncated"],
    )
    return _Index(info, timestamps, seconds, facts["plain"], request | facts), child
