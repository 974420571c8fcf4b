"""Animate a catalog: people in pictures move like people in videos.

    python jobs/animate_catalog.py --catalog catalog.csv --output out

Exit code 0: every row is made. 3: finished, some rows are in the quarantine. 2: the request itself is wrong.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jobs.arguments import OK, SOME_QUARANTINED, add_options, check_counts, command_line, given, option
from jobs.exit_codes import exit_code
from model.artifacts import absolute
from model.embedded import EMBEDDED
from model.embedded import SETTINGS as EMBEDDED_SETTINGS
from model.estimators.selection import EstimatorChoice
from model.settings import AnimationSettings
from pipeline.catalog import VideoSettings
from pipeline.dry_run import describe
from pipeline.job import Outcome, Request, plan, run
from pipeline.report import table
from pipeline.storage import Storage
from pipeline.tasks import ModelChoice


@dataclass(frozen=True)
class Options:
    """Where things are and what to run on."""

    catalog: str = option(
        dataclasses.MISSING, "catalog of rows id, reference, driving: .parquet, .csv or .jsonl", "URI"
    )
    output: str = option(dataclasses.MISSING, "folder for videos, records, manifest and quarantine", "URI")
    model: str = option(EMBEDDED, f"SVD folder in diffusers layout, or {EMBEDDED!r}", "URI")
    checkpoint: str | None = option(None, "MimicMotion checkpoint, .pth or .safetensors", "URI")
    pose_estimator: Literal["holistic", "dwpose"] = option("holistic", "pose backend")
    pose_weights: str | None = option(None, "folder of the pose backend's weights (holistic fetches its own)", "URI")
    workers: int | None = option(None, "segment workers (default: one for each GPU, or for two cores)")
    workers_per_gpu: int = option(1, "segment workers that share a GPU")
    threads: int = option(1, "threads of a segment worker on a CPU; other numbers give other last bits")
    snapshot_every: int = option(5, "steps between two snapshots, which a killed run goes on from")
    device: Literal["cpu", "cuda"] = option("cpu", "where networks run")
    dtype: Literal["float32", "float16", "bfloat16"] = option("float32", "precision of the networks")
    attention: Literal["sdpa", "xformers"] = option("sdpa", "how self-attention is computed")
    dry_run: bool = option(False, "say what would be done and what it would cost, and touch nothing")


def parse(arguments: Sequence[str] | None) -> tuple[Request, bool]:
    """The request, and whether it is a dry run. Raises ``ValueError`` for settings that cannot be."""
    parser = command_line(__doc__)
    add_options(parser, "job", Options)
    add_options(parser, "video (a row's column of that name comes first: fps, person)", VideoSettings)
    add_options(
        parser,
        "animation (likewise: seed, steps, guidance, resolution, fusion; the embedded model has its own defaults)",
        AnimationSettings,
    )
    namespace = parser.parse_args(arguments)
    options = Options(**given(namespace, Options))
    check_counts(options, "workers", "workers_per_gpu", "threads", "snapshot_every")
    base = EMBEDDED_SETTINGS if options.model == EMBEDDED else AnimationSettings()
    settings = VideoSettings(
        animation=base.replace(**given(namespace, AnimationSettings)), **given(namespace, VideoSettings)
    )
    # Workers may stand elsewhere than this process does.
    model = options.model if options.model == EMBEDDED else absolute(options.model)
    checkpoint, pose_weights = (uri and absolute(uri) for uri in (options.checkpoint, options.pose_weights))
    choice = ModelChoice(model, checkpoint, options.device, options.dtype, options.attention)
    estimator = EstimatorChoice(options.pose_estimator, pose_weights)
    request = Request(
        options.catalog,
        options.output,
        choice,
        estimator,
        settings,
        options.workers,
        options.workers_per_gpu,
        options.threads,
        options.snapshot_every,
    )
    return request, options.dry_run


def summary(outcome: Outcome, output: str) -> str:
    """What a person reads at the end."""
    rows = [(row_id, "made", *_numbers(record)) for row_id, record in sorted(outcome.made.items())]
    rows += [(row_id, "kept", *_numbers(record)) for row_id, record in sorted(outcome.kept.items())]
    rows += [
        (entry.id or f"row {entry.line}", "quarantined", "", "", "", f"{entry.stage}: {entry.message}")
        for entry in outcome.failed
    ]
    counts = f"{len(outcome.made)} made, {len(outcome.kept)} kept, {len(outcome.failed)} quarantined, in {output}"
    return f"{table(('id', 'status', 'frames', 'seconds', 'people', 'file or reason'), rows)}\n\n{counts}"


def _numbers(record: dict[str, Any]) -> tuple[object, ...]:
    output = record["output"]
    return output["frames"], f"{output['duration_s']:.1f}", record["poses"]["people"], output["video"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; the exit code."""

    def work() -> int:
        request, dry_run = parse(arguments)
        if dry_run:
            print(describe(plan(request, Storage(request.output)), request))
            return OK
        outcome = run(request)
        print(summary(outcome, request.output))
        return SOME_QUARANTINED if outcome.failed else OK

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
