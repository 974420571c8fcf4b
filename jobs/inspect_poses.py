"""Look at extracted poses: a page with contact sheets, confidences by part, hands, quarantine.

    python jobs/inspect_poses.py poses

writes poses/inspection/index.html, which needs nothing else, and the contact sheets beside it as PNG.

Exit code 0: everything was looked at. 3: some files could not be read. 2: the request itself is wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs.arguments import OK, SOME_QUARANTINED, add_options, check_counts, command_line, given, option
from jobs.exit_codes import exit_code
from model.artifacts import absolute, join
from pipeline.inspection_report import PAGE, write_report
from pipeline.pose_sources import PoseSource, find_tables


@dataclass(frozen=True)
class Options:
    """What to look at."""

    tables: str = field(
        metadata={"help": "output folder of extract_poses, a folder of pose tables, or one", "positional": True}
    )
    output: str | None = option(None, "folder of the page (default: inspection, beside the tables)", "URI")
    video: tuple[str, ...] = option((), "a video to show, by id or URI; may be given several times")
    overlay: bool = option(False, "also write the whole of each shown video with its poses over it, as MP4")
    rows: int = option(1_000_000, "rows of poses to read for the distributions, evenly over a larger data set")


def default_output(source: PoseSource) -> str:
    """Beside the tables, but not among those of an output of extract_poses: whoever reads them reads their folder."""
    above, _, name = source.folder.rpartition("/")
    among = name == "poses" and not source.summed_up and not any("/" in table for table in source.files)
    return join(above if among else source.folder, "inspection")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; the exit code."""

    def work() -> int:
        parser = command_line(__doc__)
        add_options(parser, "job", Options)
        options = Options(**given(parser.parse_args(arguments), Options))
        check_counts(options, "rows")
        source = find_tables(absolute(options.tables))
        output = absolute(options.output or default_output(source))
        found = write_report(source, output, options.video, options.rows, options.overlay)
        for name, reason in found.failed:
            print(f"could not be read: {name}: {reason}")
        print(f"{found.videos:,} videos, {found.frames:,} frames: look at {join(output, PAGE)}")
        return SOME_QUARANTINED if found.failed else OK

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
