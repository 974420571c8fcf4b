"""Animate a catalog: people in pictures move like people in videos.

    python jobs/animate_catalog.py --catalog catalog.csv --output out

Exit code 0: every row is made. 3: finished, some rows are in the quarantine. 2: the request itself is wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jobs.arguments import OK, SOME_QUARANTINED, WRONG_REQUEST, add_options, given, option
from model.artifacts import absolute
from model.embedded_config import EMBEDDED
from model.embedded_config import SETTINGS as EMBEDDED_SETTINGS
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
    workers: int | None = option(None, "animating workers (default: one a GPU, or one for four cores)")
    device: str = option("cpu", "cpu or cuda")
    dtype: Literal["float32", "float16", "bfloat16"] = option("float32", "precision of the networks")
    attention: Literal["sdpa", "xformers"] = option("sdpa", "how self-attention is computed")
    dry_run: bool = option(False, "say what would be done and what it would cost, and touch nothing")


def parse(arguments: Sequence[str] | None) -> tuple[Request, bool]:
    """The request, and whether it is a dry run. Raises ``ValueError`` for settings that cannot be."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").strip(), formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_options(parser, "job", Options)
    add_options(parser, "video (a row's column of that name comes first: fps, person)", VideoSettings)
    add_options(parser, "animation (likewise: seed, steps, guidance, resolution, fusion)", AnimationSettings)
    namespace = parser.parse_args(arguments)
    options = Options(**given(namespace, Options))
    if options.workers is not None and options.workers < 1:
        raise ValueError(f"workers is {options.workers}, expected at least 1")
    base = EMBEDDED_SETTINGS if options.model == EMBEDDED else AnimationSettings()
    settings = VideoSettings(
        animation=base.replace(**given(namespace, AnimationSettings)), **given(namespace, VideoSettings)
    )
    # Workers may stand elsewhere than this process does.
    model = options.model if options.model == EMBEDDED else absolute(options.model)
    checkpoint, pose_weights = (uri and absolute(uri) for uri in (options.checkpoint, options.pose_weights))
    choice = ModelChoice(model, checkpoint, options.device, options.dtype, options.attention)
    estimator = EstimatorChoice(options.pose_estimator, pose_weights)
    return Request(options.catalog, options.output, choice, estimator, settings, options.workers), options.dry_run


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
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    try:
        request, dry_run = parse(arguments)
        if dry_run:
            print(describe(plan(request, Storage(request.output)), request))
            return OK
        outcome = run(request)
    except (OSError, RuntimeError, ValueError) as error:  # what names a file, a row or a setting is one of these
        print(f"error: {error}", file=sys.stderr)
        return WRONG_REQUEST
    print(summary(outcome, request.output))
    return SOME_QUARANTINED if outcome.failed else OK


if __name__ == "__main__":
    sys.exit(main())
