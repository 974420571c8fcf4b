"""Extract poses: everybody's keypoints and scores in many videos, as tables that anything reads.

    python jobs/extract_poses.py --videos clips/ --output poses

Exit code 0: every video is in the tables. 3: finished, some are in the quarantine. 2: the request itself is wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jobs.arguments import OK, SOME_QUARANTINED, add_options, given, option
from jobs.exit_codes import exit_code
from model.artifacts import absolute
from model.estimators.selection import EstimatorChoice
from pipeline.extract import Outcome, Plan, plan, run
from pipeline.extraction import Request, Sampling
from pipeline.pose_store import read_state
from pipeline.report import table
from pipeline.storage import Storage
from pipeline.video import DEADLINE_S

_SHOWN = 20
"""Quarantined videos listed at the end; all of them are in the file."""


@dataclass(frozen=True)
class Options:
    """Where things are, which frames are looked at, and what to run on."""

    videos: str = option(
        dataclasses.MISSING,
        "folder, glob, URI prefix, video, or catalog (.csv, .jsonl, .parquet) with a column uri, video or driving",
        "URI",
    )
    output: str = option(dataclasses.MISSING, "folder for pose tables, videos.parquet and quarantine.parquet", "URI")
    pose_estimator: Literal["holistic", "dwpose"] = option("holistic", "pose backend")
    pose_weights: str | None = option(None, "folder of the pose backend's weights (holistic fetches its own)", "URI")
    fps: float | None = option(None, "frames a second that are looked at (default 15)")
    stride: int | None = option(None, "instead: every how many of a video's own frames one is looked at")
    people: int = option(4, "most people kept in a frame")
    workers: int | None = option(None, "estimating workers (default: one a core, or one a GPU)")
    device: Literal["cpu", "cuda"] = option("cpu", "where dwpose runs; holistic runs on the CPU")
    table_size: int = option(256, "megabytes that a table file may grow to", "MB")
    deadline: float = option(DEADLINE_S, "seconds that a decoder may give no sign of life", "SECONDS")
    dry_run: bool = option(False, "say what would be done, and touch nothing")


def parse(arguments: Sequence[str] | None) -> tuple[Request, bool]:
    """The request, and whether it is a dry run. Raises ``ValueError`` for settings that cannot be."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").strip(), formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_options(parser, "job", Options)
    options = Options(**given(parser.parse_args(arguments), Options))
    for name, least in (("workers", 1), ("table_size", 1), ("deadline", 0.1)):
        value = getattr(options, name)
        if value is not None and not value >= least:
            raise ValueError(f"{name} is {value}, expected at least {least}")
    default = Sampling.fps if options.stride is None else None
    sampling = Sampling(default if options.fps is None else options.fps, options.stride, options.people)
    # Workers may stand elsewhere than this process does.
    weights = options.pose_weights and absolute(options.pose_weights)
    request = Request(
        videos=absolute(options.videos),
        output=options.output,
        choice=EstimatorChoice(options.pose_estimator, weights, options.people),
        sampling=sampling,
        device=options.device,
        workers=options.workers,
        table_bytes=options.table_size << 20,
        deadline_s=options.deadline,
    )
    return request, options.dry_run


def summary(outcome: Outcome, output: str) -> str:
    """What a person reads at the end."""
    lines = []
    if outcome.failed:
        rows = [(entry.id or f"row {entry.line}", entry.stage, entry.message) for entry in outcome.failed]
        lines.append(table(("quarantined", "stage", "reason"), rows[:_SHOWN]))
        if len(rows) > _SHOWN:
            stages = ", ".join(f"{count} in {stage}" for stage, count in Counter(row[1] for row in rows).most_common())
            lines.append(f"... and {len(rows) - _SHOWN} more; in all {stages}")
        lines.append("")
    truncated = sum(finished.truncated for finished in outcome.done)
    repeated = sum(finished.same_as is not None for finished in outcome.done)
    also = f" ({truncated} truncated, {repeated} of known contents)" if truncated or repeated else ""
    if outcome.frames:
        rate = outcome.frames / outcome.seconds
        lines.append(f"{outcome.frames} frames in {outcome.seconds:.0f} s, {rate:.1f} frames/s")
    lines.append(
        f"{len(outcome.done)} done{also}, {outcome.kept} kept, {len(outcome.failed)} quarantined; "
        f"{outcome.videos} videos in {output}"
    )
    return "\n".join(lines)


def _first(rows: Sequence[tuple[str, str]], would: str) -> list[tuple[str, str]]:
    more = len(rows) - _SHOWN
    return [*rows[:_SHOWN], *([(f"... and {more} more", would)] if more > 0 else [])]


def describe(planned: Plan) -> str:
    """What a run would do. Contents are not read, so a copy of a finished video counts as one to be done."""
    todo = [(video.uri, "do") for video in planned.todo]
    failed = [
        (entry.id or f"row {entry.line}", f"quarantine: {entry.message}") for entry in planned.resolved.failed.values()
    ]
    rows = [*_first(todo, "do"), *_first(failed, "quarantine")]
    counts = (
        f"{len(planned.todo)} to do, {len(planned.resolved.finished)} done already, "
        f"{len(planned.resolved.failed)} cannot be, {planned.listing.left_out} files left out by their names"
    )
    return f"{table(('video', 'would'), rows)}\n\n{counts}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; the exit code."""

    def work() -> int:
        request, dry_run = parse(arguments)
        if dry_run:
            storage = Storage(request.output)
            print(describe(plan(request, storage, read_state(storage))))
            return OK
        outcome = run(request)
        print(summary(outcome, request.output))
        return SOME_QUARANTINED if outcome.failed else OK

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
