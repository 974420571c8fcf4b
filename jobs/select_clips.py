"""Select clips to train on from the poses of many videos.

    python jobs/select_clips.py poses --min-motion 0.1

reads what extract_poses wrote and writes one table, clips.parquet: the clips, and what was left out and why.

Exit code 0: every video was looked at. 3: finished, some could not be. 2: the request itself is wrong.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs.arguments import OK, SOME_QUARANTINED, add_options, command_line, given, option
from jobs.exit_codes import exit_code
from model.artifacts import absolute, join
from pipeline.clip_selection import Selection, select_clips
from pipeline.clip_table import KEPT, NAME
from pipeline.clips import REASONS, ClipSettings
from pipeline.quarantine import NAME as QUARANTINE
from pipeline.report import table
from pipeline.video_summaries import NAME as VIDEOS

_SHOWN_FAILURES = 20


@dataclass(frozen=True)
class Options:
    """Where things are."""

    tables: str = field(metadata={"help": "output folder of extract_poses; path or URI", "positional": True})
    output: str | None = option(None, f"table to write; path or URI (default: {NAME} in that folder)", "URI")


def parse(arguments: Sequence[str] | None) -> tuple[str, str, ClipSettings]:
    """Tables, output and settings. Raises ``ValueError`` for settings that cannot be."""
    parser = command_line(__doc__)
    add_options(parser, "job", Options)
    add_options(parser, "clips", ClipSettings)
    namespace = parser.parse_args(arguments)
    options = Options(**given(namespace, Options))
    output = absolute(options.output or join(options.tables, NAME))
    if not output.endswith(".parquet"):
        raise ValueError(f"output is {output}, expected a name that ends in .parquet")
    tables = absolute(options.tables)
    inside = output.removeprefix(join(tables, ""))
    if inside.startswith(("poses/", "_parts/")) or inside in (VIDEOS, QUARANTINE):
        raise ValueError(f"output is {output}, which is for what extract_poses writes; give another name")
    return tables, output, dataclasses.replace(ClipSettings(), **given(namespace, ClipSettings))


def summary(selection: Selection, output: str) -> str:
    """What a person reads at the end: clips of each length, and where the frames went."""
    rows = []
    for length in sorted(selection.clips):
        total = sum(count for (of, _), count in selection.frames.items() if of == length) or 1
        shares = [f"{selection.frames[length, what] / total:.1%}" for what in (KEPT, *REASONS)]
        rows.append((length, f"{selection.clips[length]:,}", *shares))
    lines = [table(("length", "clips", "frames kept", *REASONS), rows), ""]
    lines += [f"could not be used: {name}: {reason}" for name, reason in selection.failed[:_SHOWN_FAILURES]]
    if (more := len(selection.failed) - _SHOWN_FAILURES) > 0:
        lines.append(f"... and {more:,} more, in the log")
    return "\n".join([*lines, f"{selection.videos:,} videos, {sum(selection.clips.values()):,} clips, in {output}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; the exit code."""

    def work() -> int:
        tables, output, settings = parse(arguments)
        selection = select_clips(tables, output, settings)
        print(summary(selection, output))
        return SOME_QUARANTINED if selection.failed else OK

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
