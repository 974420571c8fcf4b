"""Small clips whose frames say their number: frame i is one flat grey, which any decoder gives back."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from pipeline.encoding import VideoWriter

_DARKEST, _STEP = 12, 9
MOST_FRAMES = 27


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)], check=True)


def numbered(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), _DARKEST + _STEP * number, np.uint8)


def number_of(pixels: np.ndarray) -> int:
    return round((float(pixels.mean()) - _DARKEST) / _STEP)


def write_numbered(path: Path, count: int, fps: float, width: int = 64, height: int = 48) -> Path:
    with VideoWriter(path, fps) as writer:
        for number in range(count):
            writer.write(numbered(number, width, height))
    return path


def numbers(frames: Sequence[np.ndarray]) -> list[int]:
    return [number_of(pixels) for pixels in frames]


def write_moving(path: Path, count: int, *options: str, size: str = "96x64") -> Path:
    """FFmpeg's moving test picture at 25 fps, detailed enough that no two frames are alike."""
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d={count / 25}", *(options or _H264), path)
    return path


_H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p")
