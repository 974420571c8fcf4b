"""Builds a folder of odd, broken and hostile videos out of real clips, and says what must become of each.

    python -m tests.pipeline.hostile_videos FOLDER [--copies N]

What cannot lie in a folder is done by others: ``Server`` answers with errors, and a decoder that finds
``FAILING_DECODER`` on its path crashes, hangs or loses its file, as the file's name says.
"""

from __future__ import annotations

import argparse
import csv
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pipeline.footage import dancer_clip
from tests.pipeline.clips import ffmpeg

WHOLE, TRUNCATED = "whole", "truncated"
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
DANCE = "scale=130:124"

FAILING_DECODER = """
import os, sys, time
if any("pipeline.decoding.process" in part for part in sys.orig_argv):
    from pipeline.decoding import protocol
    send = protocol.Channel.send

    def failing(channel, kind, payload=b""):
        if kind == protocol.FRAME:
            for number in os.listdir("/proc/self/fd"):
                try:
                    path = os.readlink(f"/proc/self/fd/{number}")
                except OSError:
                    continue
                if "crash-decoder" in path:
                    os.kill(os.getpid(), 11)
                elif "hang-decoder" in path:
                    time.sleep(600)
                elif "vanish" in path and os.path.exists(path):
                    os.unlink(path)
        send(channel, kind, payload)

    protocol.Channel.send = failing
"""


@dataclass(frozen=True)
class Expected:
    """A file, and its status in ``videos.parquet`` or a part of its reason in the quarantine."""

    name: str
    status: str | None = None
    reason: str | None = None


Maker = Callable[[Path, Path, int], None]


def dance(target: Path, start: float, seconds: float = 0.5, *options: str, video: str = DANCE) -> None:
    """A piece of the dance; ``options`` encode it."""
    ffmpeg("-ss", f"{start:.2f}", "-t", seconds, "-i", dancer_clip(), "-vf", video, "-an", *(options or H264), target)


def _patched(source: Path, target: Path, patch: Callable[[bytearray], None]) -> None:
    contents = bytearray(source.read_bytes())
    patch(contents)
    target.write_bytes(contents)


def _cut(share: float) -> Callable[[bytearray], None]:
    def cut(contents: bytearray) -> None:
        del contents[int(len(contents) * share) :]

    return cut


def _headless(contents: bytearray) -> None:
    del contents[:300]


def _many_frames(contents: bytearray) -> None:
    entry = contents.index(b"stts") + 12
    contents[entry : entry + 4] = (2_000_000).to_bytes(4, "big")


def _huge_picture(contents: bytearray) -> None:
    size = contents.index(b"strf") + 12
    contents[size : size + 8] = (12_000).to_bytes(4, "little") * 2


def _noise(contents: bytearray) -> None:
    start = contents.index(b"mdat") + 4
    contents[start:] = bytes(len(contents) - start)


def _broken_middle(contents: bytearray) -> None:
    start = contents.index(b"mdat") + (len(contents) - contents.index(b"mdat")) // 2
    contents[start : start + 200] = bytes(range(200))


def _late(target: Path, plain: Path, number: int) -> None:
    ffmpeg("-itsoffset", "0.4", "-i", plain, "-f", "lavfi", "-i", "sine=d=0.9", "-c:v", "copy", target)


def _longer_sound(target: Path, plain: Path, number: int) -> None:
    ffmpeg("-i", plain, "-f", "lavfi", "-i", f"sine=d={2 + number}", "-c:v", "copy", "-c:a", "aac", target)


def _by(patch: Callable[[bytearray], None], *source: str, suffix: str = "mp4", seconds: float = 0.5) -> Maker:
    """A dance encoded with the options ``source``, then broken."""

    def make(target: Path, plain: Path, number: int) -> None:
        whole = target.with_name(f".{target.name}.{suffix}")
        dance(whole, 3 + number, seconds, *(source or (*H264, "-movflags", "+faststart")))
        _patched(whole, target, patch)
        whole.unlink()

    return make


def _as(*options: str, video: str = DANCE) -> Maker:
    return lambda target, plain, number: dance(target, 3 + number, 0.5, *options, video=video)


def _ffmpeg(*before: str, after: tuple[str, ...] = ("-c", "copy")) -> Maker:
    return lambda target, plain, number: ffmpeg(*before, "-i", plain, *after, target)


def _holding(text: str) -> Maker:
    return lambda target, plain, number: target.write_text(text.format(number=number)) and None


def _copy(target: Path, plain: Path, number: int) -> None:
    target.write_bytes(plain.read_bytes())


_AVI = ("-c:v", "mpeg4")
_VARIABLE = "select='not(mod(n,3))+gte(n,6)'," + DANCE
_BOMB_S = ("-vf", "setpts=N*20000/TB", "-fps_mode", "passthrough", *H264)

# Name with its suffix: how it is made, and what must come of it.
GOOD: dict[str, tuple[Maker, str]] = {
    "plain.mp4": (_copy, WHOLE),
    "plain.mkv": (_ffmpeg(), WHOLE),
    "plain.mov": (_ffmpeg(), WHOLE),
    "plain.ts": (_ffmpeg(), WHOLE),
    "plain.flv": (_ffmpeg(), WHOLE),
    "mpeg4.avi": (_as(*_AVI), WHOLE),
    "vp8.webm": (_as("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8"), WHOLE),
    "one-frame.mp4": (_ffmpeg(after=("-frames:v", "1", *H264)), WHOLE),
    "variable-rate.mkv": (_as("-fps_mode", "passthrough", *H264, video=_VARIABLE), WHOLE),
    "turned.mp4": (_ffmpeg("-display_rotation", "90"), WHOLE),
    "mirrored.mp4": (_ffmpeg("-display_hflip"), WHOLE),
    "odd-size.mkv": (_as("-c:v", "ffv1", "-pix_fmt", "yuv420p", video="scale=121:115,crop=121:115:exact=1"), WHOLE),
    "ten-bit.mp4": (_as("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le"), WHOLE),
    "alpha.mov": (_as("-c:v", "qtrle", "-pix_fmt", "argb"), WHOLE),
    "alpha.webm": (_as("-c:v", "libvpx", "-pix_fmt", "yuva420p", "-auto-alt-ref", "0", "-cpu-used", "8"), WHOLE),
    "starts-late.mp4": (_late, WHOLE),
    "longer-sound.mp4": (_longer_sound, WHOLE),
    "broken-middle.mp4": (_by(_broken_middle, *H264), WHOLE),
    "no-suffix": (_copy, WHOLE),
    "名前 'n' %d.mp4": (_ffmpeg(after=("-c", "copy", "-metadata", "title=x")), WHOLE),
    "tail-cut.mp4": (_by(_cut(0.7), seconds=1.0), TRUNCATED),
    "tail-cut.mkv": (_by(_cut(0.6), *H264, suffix="mkv", seconds=2.0), TRUNCATED),
}
BAD: dict[str, tuple[Maker, str]] = {
    "zero-bytes.mp4": (_holding(""), "0 bytes"),
    "head-cut.mkv": (_by(_headless, *H264, suffix="mkv"), "not a video that is accepted"),
    "index-cut.mp4": (_by(_cut(0.6), *H264), "its header cannot be read"),
    "text.mp4": (_holding("not a video but {number} words of text, many of them\n"), "is text that begins with"),
    "page.mp4": (_holding("<!DOCTYPE html><html>{number}: please log in</html>"), "a web page"),
    "sound.mp4": (lambda t, p, n: ffmpeg("-f", "lavfi", "-i", f"sine=d={1 + n}", t), "no video stream"),
    "too-long.mkv": (_ffmpeg(after=_BOMB_S), "longer than the limit"),
    "too-many-frames.mp4": (_by(_many_frames, *H264), "more than 1000000 frames"),
    "too-large.avi": (
        _by(_huge_picture, "-c:v", "rawvideo", "-pix_fmt", "yuv420p", suffix="avi"),
        "more than the limit of 35389440 pixels",
    ),
    "playlist.mp4": (_holding("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd?{number}\n"), "a playlist, which names other"),
    "concat.mp4": (_holding("ffconcat version 1.0\nfile '/etc/passwd'\n#{number}\n"), "a playlist, which names other"),
    "manifest.mp4": (_holding("<?xml version='1.0'?><MPD>{number}</MPD>"), "an XML document"),
    "noise.mp4": (_by(_noise, *H264, "-movflags", "+faststart"), "no frame of it can be"),
    "crash-decoder.mp4": (_as(*H264, "-metadata", "title=crash"), "killed by SIGSEGV"),
    "hang-decoder.mp4": (_as("-c:v", "ffv1", "-f", "matroska"), "no sign of life"),
    "vanish.mp4": (_as(*H264, "-metadata", "title=vanish"), "vanished while it was being read"),
}


def build(folder: Path, copies: int) -> list[Expected]:
    """``copies`` of every kind that there can be many of, each of another moment of the dance; one hang."""
    folder.mkdir(parents=True, exist_ok=True)
    expected = []
    for number in range(copies):
        plain = folder / f".plain-{number}.mp4"
        dance(plain, 3 + number)
        for name, (make, outcome) in [*GOOD.items(), *BAD.items()]:
            if name.startswith("hang") and number:
                continue
            target = folder / f"{number:02}-{name}"
            make(target, plain, number)
            good = name in GOOD
            expected.append(Expected(target.name, outcome if good else None, None if good else outcome))
        plain.unlink()
    return expected


class Server:
    """Serves a folder over HTTP; names that begin with ``outage`` never, with ``flaky`` after two errors."""

    def __init__(self, folder: Path) -> None:
        refusals: dict[str, int] = {}

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments, directory=str(folder))

            def send_head(self) -> Any:
                name = self.path.rpartition("/")[2]
                refusals[name] = refusals.get(name, 0) + 1
                if name.startswith("outage") or (name.startswith("flaky") and refusals[name] <= 2):
                    self.send_error(503)
                    return None
                return super().send_head()

            def log_message(self, format: str, *arguments: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[Server]:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        yield self
        self._server.shutdown()


@contextmanager
def hostile_catalog(folder: Path, copies: int) -> Iterator[tuple[Path, list[Expected]]]:
    """A catalog of the whole set, some of it behind a server, and what must become of each URI."""
    videos, served = folder / "videos", folder / "served"
    expected = [Expected(str(videos / e.name), e.status, e.reason) for e in build(videos, copies)]
    served.mkdir()
    for number in range(copies):
        dance(served / f"flaky-{number}.mp4", 30 + number)
    with Server(served).running() as server:
        expected += [Expected(f"{server.uri}/flaky-{number}.mp4", WHOLE) for number in range(copies)]
        expected += [Expected(f"{server.uri}/outage.mp4", reason="503")]
        expected += [Expected(f"{server.uri}/missing.mp4", reason="no such file")]
        catalog = folder / "catalog.csv"
        with catalog.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([["uri"], *([entry.name] for entry in expected)])
        yield catalog, expected


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--copies", type=int, default=6)
    options = parser.parse_args()
    start = time.monotonic()
    expected = build(options.folder, options.copies)
    good = sum(entry.status is not None for entry in expected)
    print(f"{len(expected)} videos in {time.monotonic() - start:.0f} s: {good} good, {len(expected) - good} bad")


if __name__ == "__main__":
    main()
