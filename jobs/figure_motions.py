"""Real people's motion to drive figures with: to learn from, and apart from it, to measure on.

    python jobs/figure_motions.py runs/figures/motions

Fetches the footage, extracts its poses and writes ``train/*.npy`` and ``held-out/*.npy``: the second half of a dance,
and its first half with a balancing man seen by four cameras. Exit code 0: written. 2: the request is wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jobs.arguments import OK, add_options, command_line, given
from jobs.exit_codes import exit_code
from jobs.extract_poses import main as extract_poses
from model.artifacts import join
from pipeline.figures.recorded_motion import recorded_motions
from pipeline.footage import balancer_clips, dancer_clip
from pipeline.pose_reader import open_pose_file
from pipeline.pose_sources import find_tables

LEARNT_FROM = 750
"""Frame of the dance, at 25 a second, from which on it is learnt from. The demo dances to what comes before."""

_GAP = 50
_DANCE_STRIDE, _BALANCE_STRIDE = 3, 2


@dataclass(frozen=True)
class Options:
    """Where things are."""

    folder: str = field(metadata={"help": "folder to write to", "positional": True})


def write_motions(folder: Path) -> int:
    """The exit code of the extraction; motions that are there already are written again."""
    videos = folder / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    clips = {"dance.avi": dancer_clip(), **{clip.name: clip for clip in balancer_clips()}}
    for name, clip in clips.items():
        if not (videos / name).exists():
            # Where it leads to may have gone with an earlier cache; and a cache may be named from here.
            (videos / name).unlink(missing_ok=True)
            (videos / name).symlink_to(clip.resolve())
    poses = folder / "poses"
    status = extract_poses(["--videos", str(videos), "--output", str(poses), "--stride", "1", "--people", "1"])
    if status != OK:
        return status
    source = find_tables(str(poses))
    for part in ("train", "held-out"):
        (folder / part).mkdir(exist_ok=True)
    for name in source.files:
        with open_pose_file(join(source.folder, name)) as file:
            for uri, motion in recorded_motions(file):
                stem = Path(uri).stem
                if stem != "dance":
                    np.save(folder / "held-out" / f"{stem}.npy", motion[::_BALANCE_STRIDE])
                    continue
                np.save(folder / "held-out" / "dance.npy", motion[: LEARNT_FROM - _GAP : _DANCE_STRIDE])
                for phase in range(_DANCE_STRIDE):
                    learnt = motion[LEARNT_FROM + phase :: _DANCE_STRIDE]
                    np.save(folder / "train" / f"dance-{phase}.npy", learnt)
    return OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; the exit code."""

    def work() -> int:
        parser = command_line(__doc__)
        add_options(parser, "job", Options)
        options = Options(**given(parser.parse_args(arguments), Options))
        return write_motions(Path(options.folder))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
