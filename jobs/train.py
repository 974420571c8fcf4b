"""Train: the animation from pose-annotated clips, or a VAE, on any number of workers.

    python jobs/train.py --recipe recipes/figures/denoiser.toml --model recipes/figures/model --output runs/figures

Run again with the same output, it goes on from the last saved step. Exit code 0: trained. 2: the request is wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jobs.arguments import OK, add_options, check_counts, command_line, given, option
from jobs.exit_codes import exit_code
from model.artifacts import absolute
from pipeline.training.loop import Pace
from pipeline.training.run import Request, checked, run
from pipeline.training.settings import TrainingSettings, read_recipe


@dataclass(frozen=True)
class Options:
    """Where things are and what to run on."""

    recipe: str = option(dataclasses.MISSING, "settings of the run, a TOML file", "FILE")
    output: str = option(dataclasses.MISSING, "folder for states, metrics, pictures and the export", "URI")
    model: str = option(
        dataclasses.MISSING, "SVD folder in diffusers layout; from scratch only its configurations", "URI"
    )
    checkpoint: str | None = option(None, "MimicMotion checkpoint to go on from", "URI")
    vae: str | None = option(None, "folder of another VAE than the model's", "URI")
    clips: str | None = option(None, "clips.parquet to learn from (default: figures are rendered)", "URI")
    poses: str | None = option(None, "output folder of extract_poses (default: where the clips are)", "URI")
    motions: str | None = option(None, "folder of real people's motion for figures, as figure_motions writes it", "DIR")
    workers: int = option(1, "training workers, each with a GPU on --device cuda")
    threads: int = option(1, "threads of a worker on a CPU; other numbers give other last bits")
    device: Literal["cpu", "cuda"] = option("cpu", "where networks run")
    shard: bool = option(
        False, "spread the learning networks over the workers (FSDP), for those that do not fit on one"
    )
    save_every: int = option(Pace.save_every, "steps between two states")
    validate_every: int = option(Pace.validate_every, "steps between two validations")
    picture_every: int = option(Pace.picture_every, "steps between two sample grids")
    max_minutes: float | None = option(None, "stop after so many minutes, with everything saved")
    dry_run: bool = option(False, "see that recipe and networks fit, print what a worker would hold, and touch nothing")


def parse(arguments: Sequence[str] | None) -> tuple[Request, bool]:
    """The run that is asked for, and whether it is a dry one. Raises ``ValueError`` for settings that cannot be."""
    parser = command_line(__doc__)
    add_options(parser, "job", Options)
    add_options(parser, "training (each comes before the recipe's)", TrainingSettings)
    namespace: argparse.Namespace = parser.parse_args(arguments)
    options = Options(**given(namespace, Options))
    check_counts(options, "workers", "threads", "save_every", "validate_every", "picture_every")
    if options.max_minutes is not None and not options.max_minutes > 0:
        raise ValueError(f"max_minutes is {options.max_minutes}, expected a number above 0")
    if options.poses is not None and options.clips is None:
        raise ValueError("poses is given without clips: it is where the poses of those are")
    request = Request(
        settings=read_recipe(options.recipe, given(namespace, TrainingSettings)),
        output=absolute(options.output),
        model=absolute(options.model),
        checkpoint=options.checkpoint and absolute(options.checkpoint),
        vae=options.vae and absolute(options.vae),
        clips=options.clips and absolute(options.clips),
        poses=options.poses and absolute(options.poses),
        motions=motion_files(options.motions),
        workers=options.workers,
        threads=options.threads,
        device=options.device,
        shard=options.shard,
        pace=Pace(options.save_every, options.validate_every, options.picture_every, options.max_minutes),
    )
    return request, options.dry_run


def motion_files(folder: str | None) -> tuple[str, ...]:
    """The .npy files in a folder, in order of their names. Raises ``ValueError`` when it has none."""
    if folder is None:
        return ()
    files = tuple(str(path) for path in sorted(Path(folder).resolve().glob("*.npy")))
    if not files:
        raise ValueError(f"motions: {folder} holds no .npy file; write some with jobs/figure_motions.py")
    return files


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; the exit code."""

    def work() -> int:
        request, dry_run = parse(arguments)
        if dry_run:
            print(checked(request).describe())
            return OK
        run(request)
        print(f"trained; {request.output}/export has the networks, {request.output}/metrics.jsonl the losses")
        return OK

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
