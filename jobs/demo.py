"""The demo: a real dancer drives two drawn figures, on this machine, with the network inside the package."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import ffmpeg
import imageio_ffmpeg
from PIL import Image

from jobs.animate_catalog import main
from jobs.arguments import OK, SOME_QUARANTINED
from jobs.exit_codes import exit_code
from model.estimators.holistic_weights import holistic_weights
from pipeline.figures.clip import figure_clip
from pipeline.footage import dancer_clip

FOLDER = Path("demo")
FPS = "8"
LONG_FRAMES = 152

FIGURES = {"stripes": 7, "shorts": 12}
"""Names of the two figures, and which of the figures of a seed that nothing was trained on they are."""

_FIGURE_SEED = 2026

NOTICE = (
    "Each video shows the reference picture, the guidance drawn from the dancer's poses, and what the network made of "
    "both. The network is small, 64x96 pixels, and was trained on drawn figures: model/figures/CARD.md."
)


def prepare() -> Path:
    """Fetch what the demo needs and write its catalog. What is there already is left alone."""
    print("Fetching pose weights and footage (once; about 90 MB)", flush=True)
    holistic_weights()
    clip = dancer_clip()
    inputs = FOLDER / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    _cut(clip, inputs / "dance.mp4", start=5.0, seconds=3.0)
    _cut(clip, inputs / "dance-long.mp4", start=5.0, seconds=LONG_FRAMES / float(FPS))
    for name, index in FIGURES.items():
        _figure(index, inputs / f"{name}.png")
    rows = [
        ("stripes-short", "stripes.png", "dance.mp4"),
        ("shorts-short", "shorts.png", "dance.mp4"),
        ("shorts-long", "shorts.png", "dance-long.mp4"),
        ("nobody-there", "no-such-picture.png", "dance.mp4"),
    ]
    catalog = inputs / "catalog.csv"
    with catalog.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "reference", "driving"))
        writer.writerows(rows)
    return catalog


def _cut(source: Path, target: Path, start: float, seconds: float) -> None:
    if not target.exists():
        part = target.with_suffix(".part.mp4")
        cut = ffmpeg.input(str(source), ss=start, t=seconds).output(str(part), vcodec="libx264", crf=18, acodec="aac")
        cut.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True, overwrite_output=True)
        part.rename(target)


def _figure(index: int, target: Path) -> None:
    if not target.exists():
        part = target.with_suffix(".part.png")
        Image.fromarray(figure_clip(_FIGURE_SEED, index, 20, 384, 256, chosen=[10]).frames[0]).save(part)
        part.rename(target)


def demo() -> int:
    """Run it; 0 when the three good rows are made and the one bad row is in the quarantine."""
    catalog = prepare()
    output = FOLDER / "out"
    status = main(
        ["--catalog", str(catalog), "--output", str(output), "--fps", FPS, "--layout", "side-by-side", *sys.argv[1:]]
    )
    if "--dry-run" in sys.argv[1:]:
        return status
    if status != SOME_QUARANTINED:
        print(
            f"expected one quarantined row (exit code {SOME_QUARANTINED}), the job ended with {status}", file=sys.stderr
        )
        return status or 1
    print(
        f"\nWatch {output}/videos/*.mp4. One row names a picture that does not exist, to show the quarantine.\n{NOTICE}"
    )
    return OK


if __name__ == "__main__":
    sys.exit(exit_code(demo))
