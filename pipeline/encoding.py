"""Result videos: frames in one at a time, an H.264 MP4 out, whole or not at all.

The video is yuv420p with the BT.709 matrix and tags, and its index comes first, so that browsers play it while it
loads. The same frames give the same bytes with the same FFmpeg build. 4:2:0 colour needs even sizes: an odd frame gets
its last row or column twice (cropping would lose a row of the result).
"""

import logging
import os
import subprocess
import tempfile
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import ffmpeg
import imageio_ffmpeg
import numpy as np

from pipeline.decoding.fork_server import child_environment
from pipeline.video import VideoError, VideoInfo, probe_video

# libx264 gives other bytes with another number of threads, so it is not left to the machine.
_ENCODER_THREADS = 4
# NTSC rates are n / 1001.
_LARGEST_RATE_DENOMINATOR = 1001
_SLOWEST_RATE = Fraction(1, _LARGEST_RATE_DENOMINATOR)
_AUDIO_BIT_RATE = "160k"
# Past the last frame the encoder has a few dozen frames in hand; the audio is copied at many times its own speed.
_FINISH_WITHIN_S = 900.0
_ERROR_TAIL_CHARACTERS = 2000
_REPRODUCIBLE = {"map_metadata": -1, "fflags": "+bitexact", "flags": "+bitexact"}

logger = logging.getLogger(__name__)


class EncodingError(RuntimeError):
    """FFmpeg could not write a video. The message has what it said."""


class VideoWriter:
    """Writes frames to an MP4 file that appears at `path` when the `with` block ends well, and not before.

    Attributes:
        frames: how many were written.
        has_audio: audio was carried over. Known once closed.
    """

    def __init__(self, path: str | Path, fps: float, *, crf: float = 18, audio: str | Path | None = None) -> None:
        """Prepare to write. The first frame decides the size.

        Args:
            fps: frames a second.
            crf: H.264 quality, 0 (lossless) to 51; 18 is visually lossless.
            audio: the local driving video whose sound is to be carried over, in step with its pictures and cut to the
                result's length. Where it has none, or none that can be read, the result is silent and the log says why.
        """
        if not 0 < fps < float("inf"):
            raise ValueError(f"fps is {fps}; give a positive number of frames a second")
        if not 0 <= crf <= 51:
            raise ValueError(f"crf is {crf}; give a number from 0 (lossless) to 51 (smallest)")
        self.frames = 0
        self.has_audio = False
        self._closed = False
        self._path = Path(path)
        self._rate = max(_SLOWEST_RATE, Fraction(fps).limit_denominator(_LARGEST_RATE_DENOMINATOR))
        self._crf = crf
        self._audio = None if audio is None else Path(audio)
        self._shape: tuple[int, ...] | None = None
        self._encoder: subprocess.Popen[bytes] | None = None
        # Beside the target, so that the last step is a rename within one file system.
        self._folder = tempfile.TemporaryDirectory(dir=self._path.absolute().parent, prefix=f".{self._path.name}-")
        self._silent = Path(self._folder.name) / "video.mp4"
        self._log = Path(self._folder.name) / "ffmpeg.log"

    def write(self, frame: np.ndarray) -> None:
        """Encode the next frame, (H, W, 3) uint8 RGB, of the same size as the first.

        Raises:
            ValueError: the frame is not such an array.
            EncodingError: FFmpeg has ended.
        """
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.size == 0:
            raise ValueError(
                f"frame {self.frames} is {frame.dtype} {frame.shape}; expected uint8 (height, width, 3) RGB"
            )
        if self._shape is None:
            self._shape = frame.shape
        if frame.shape != self._shape:
            raise ValueError(f"frame {self.frames} has shape {frame.shape}; the first one had {self._shape}")
        height, width = frame.shape[:2]
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._encoder is None:
            self._encoder = self._start(frame.shape[1], frame.shape[0])
        assert self._encoder.stdin is not None
        try:
            self._encoder.stdin.write(np.ascontiguousarray(frame).data)
        except BrokenPipeError as error:
            self._encoder.wait()
            raise self._error("ended while frames were written") from error
        self.frames += 1

    def close(self) -> None:
        """Finish the file and put it in place. May be called again.

        Raises:
            EncodingError: FFmpeg failed, or there was no frame. There is then no file of ours at `path`.
        """
        if self._closed:
            return
        try:
            self._finish_video()
            finished = self._with_audio() if self._audio else self._silent
            os.replace(finished, self._path)
        finally:
            self._discard()

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._discard()

    def _start(self, width: int, height: int) -> "subprocess.Popen[bytes]":
        pictures = ffmpeg.input("pipe:0", f="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", r=str(self._rate))
        video = pictures.filter(
            "scale", out_color_matrix="bt709", out_range="tv", flags="bicubic+accurate_rnd+full_chroma_int"
        ).filter("setparams", colorspace="bt709", color_primaries="bt709", color_trc="bt709", range="tv")
        output = video.output(
            str(self._silent),
            f="mp4",
            vcodec="libx264",
            pix_fmt="yuv420p",
            crf=self._crf,
            threads=_ENCODER_THREADS,
            movflags="+faststart",
            **_REPRODUCIBLE,
        )
        with self._log.open("wb") as log:
            return subprocess.Popen(
                _command(output),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                # A file never fills up as a pipe does.
                stderr=log,
                start_new_session=True,
                env=child_environment(),
            )

    def _finish_video(self) -> None:
        if self._encoder is None:
            raise EncodingError(f"{self._path}: no frame was written, so there is no video")
        assert self._encoder.stdin is not None
        with suppress(BrokenPipeError):  # its exit code says more
            self._encoder.stdin.close()
        try:
            code = self._encoder.wait(_FINISH_WITHIN_S)
        except subprocess.TimeoutExpired as error:
            raise self._error(f"did not finish within {_FINISH_WITHIN_S:g} s of the last frame") from error
        if code:
            raise self._error(f"ended with exit code {code}")

    def _error(self, what: str) -> EncodingError:
        said = self._log.read_text(errors="replace").strip()[-_ERROR_TAIL_CHARACTERS:]
        return EncodingError(f"{self._path}: FFmpeg {what} after {self.frames} frames: {said or 'it said nothing'}")

    def _with_audio(self) -> Path:
        """The video with the driving video's sound if that can be had, else the video as it is."""
        assert self._audio is not None
        try:
            info = probe_video(self._audio)
        except VideoError as error:
            logger.warning("%s has no sound: %s", self._path, error)
            return self._silent
        if not info.has_audio:
            logger.info("%s has no sound: %s has none", self._path, self._audio)
            return self._silent
        target = Path(self._folder.name) / "with_audio.mp4"
        try:
            subprocess.run(
                _command(self._audio_output(self._audio, info, target)),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                timeout=_FINISH_WITHIN_S,
                env=child_environment(),
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            said = (error.stderr or b"").decode(errors="replace").strip()[-_ERROR_TAIL_CHARACTERS:]
            logger.warning("%s has no sound: that of %s cannot be used: %s", self._path, self._audio, said or error)
            return self._silent
        self.has_audio = True
        return target

    def _audio_output(self, source: Path, info: VideoInfo, target: Path) -> "ffmpeg.nodes.OutputStream":
        """Sound from the moment of the first picture on, silence where it begins later, up to the last frame's end."""
        pictures = ffmpeg.input(str(self._silent))
        file = ffmpeg.input(str(source.absolute()), f=info.container, protocol_whitelist="file")
        sound = (
            file["a:0"]
            .filter("asetpts", f"PTS-{info.start_s:.9f}/TB")
            .filter("aresample", **{"async": 1, "first_pts": 0})
            .filter("aformat", sample_rates="44100|48000", channel_layouts="mono|stereo")
            .filter("atrim", end=f"{float(self.frames / self._rate):.9f}")
        )
        output = ffmpeg.output(
            pictures["v:0"],
            sound,
            str(target),
            f="mp4",
            vcodec="copy",
            acodec="aac",
            audio_bitrate=_AUDIO_BIT_RATE,
            movflags="+faststart",
            **_REPRODUCIBLE,
        )
        # FFmpeg would move each file's earliest time to zero, and with it the sound against the pictures.
        return output.global_args("-copyts")

    def _discard(self) -> None:
        self._closed = True
        if self._encoder is not None:
            self._encoder.kill()
            self._encoder.wait()
            if self._encoder.stdin is not None:
                with suppress(BrokenPipeError):
                    self._encoder.stdin.close()
        self._folder.cleanup()


def _command(output: "ffmpeg.nodes.OutputStream") -> list[str]:
    quiet = output.global_args("-hide_banner", "-nostdin", "-loglevel", "error")
    return ffmpeg.compile(quiet, cmd=imageio_ffmpeg.get_ffmpeg_exe(), overwrite_output=True)
