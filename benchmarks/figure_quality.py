"""How good the animation of held-out figures is, against what should have come out.

    python -m benchmarks.figure_quality --motions held-out/*.npy

Half of the cases are driven by the given motions of real people, which the network must not have learnt from, half by
motions that are made up. The network is told what a detector makes of them. Beside it stand copying the reference, and
the truth through the VAE and back, which nothing that is decoded by it can beat by much.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.figure_scores import hand_region, joins, moving_region, psnr, seam_score, ssim
from model.animator import Animator
from model.conditioning import to_signed
from model.decoder import decode, to_uint8
from model.embedded import EMBEDDED, SETTINGS
from model.estimators import PoseEstimator
from model.keypoints import BODY
from model.scene import Scene
from model.settings import AnimationSettings
from pipeline.figures.clip import FigureClip, figure_clip
from pipeline.figures.skeleton import body_scale
from pipeline.report import table
from pipeline.training.guided_clip import shown

SEED = 20_261_122
FRAMES = 22
"""Driving frames: seven windows of 6."""

_LEAD = 16
"""Frames between the reference and the first driving one."""

COLUMNS = ("psnr", "ssim", "moving_psnr", "hand_psnr", "seam", "pose_error")


@dataclass(frozen=True, eq=False)
class Case:
    """A figure, its reference, and the video that should come out."""

    name: str
    clip: FigureClip
    real: bool

    @property
    def reference(self) -> np.ndarray:
        return self.clip.frames[0]

    @property
    def truth(self) -> np.ndarray:
        return self.clip.frames[1:]


def cases(count: int, motions: Sequence[np.ndarray], height: int, width: int) -> Iterator[Case]:
    """Every other case by a real motion, from a place of its own in it."""
    total = _LEAD + FRAMES
    chosen = [0, *range(_LEAD, total)]
    for index in range(count):
        motion = None
        if index % 2 == 1 and motions:
            whole = motions[(index // 2) % len(motions)]
            room = max(1, len(whole) - total)
            start = (index // 2) * 37 % room
            motion = whole[start : start + total]
        if motion is not None and len(motion) < total:
            raise SystemExit(f"a motion has {len(motion)} frames, {total} are needed")
        clip = figure_clip(SEED, index, total, height, width, motion, chosen)
        yield Case(f"{index:02}", clip, motion is not None)


def scores(
    made: np.ndarray, case: Case, settings: AnimationSettings, estimator: PoseEstimator | None
) -> dict[str, Any]:
    """All figures of one video."""
    truth, clip = case.truth, case.clip
    height, width = case.reference.shape[:2]
    moving = moving_region(truth, case.reference, clip.background)
    hands = hand_region(clip.truth[1:], clip.detected.scores[1:], height, width)
    windows = settings.plans(len(truth))[0].windows
    return {
        "psnr": psnr(made, truth),
        "ssim": ssim(made, truth),
        "moving_psnr": psnr(made, truth, moving),
        "hand_psnr": psnr(made, truth, hands),
        "seam": seam_score(made, truth, joins(windows)),
        "pose_error": pose_error(made, clip.truth[1:], estimator),
    }


def pose_error(made: np.ndarray, truth: np.ndarray, estimator: PoseEstimator | None) -> float:
    """Mean distance of the body's keypoints, estimated again in the video, from the true ones, in torso lengths.

    Of frames in which somebody is found; NaN where nobody is.
    """
    if estimator is None:
        return float("nan")
    errors = [
        np.linalg.norm(people[0].keypoints[BODY] - points[BODY], axis=1).mean()
        for people, points in zip(estimator.track(list(made)), truth, strict=True)
        if people
    ]
    return float(np.mean(errors) / body_scale(truth)) if errors else float("nan")


def animated(animator: Animator, case: Case, settings: AnimationSettings, confidence: str) -> np.ndarray:
    """The video by way of the ordinary animator."""
    poses = shown(case.clip.detected, confidence)
    scene = Scene(case.reference, poses[:1], poses[1:], None)
    return np.stack(list(animator.animate(scene, settings)))


@torch.no_grad()
def reconstructed(animator: Animator, case: Case, settings: AnimationSettings) -> np.ndarray:
    """The truth through the VAE and back, decoded as animations are."""
    vae = animator.networks.vae
    latents = vae.encode(to_signed(case.truth)).latent_dist.mode() * vae.config.scaling_factor
    decoded = decode(vae, latents, settings.decode_chunk, settings.decode_overlap)
    return np.stack([to_uint8(frame) for frame in decoded])


def mean_and_spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over the cases that have a value."""
    known = np.array([value for value in values if np.isfinite(value)])
    return f"{known.mean():.2f} ± {known.std():.2f}" if len(known) else "-"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", default=EMBEDDED, help="SVD folder, or 'embedded'")
    parser.add_argument("--checkpoint", help="MimicMotion checkpoint of another model")
    parser.add_argument("--motions", nargs="*", default=[], help="real people's motions, .npy")
    parser.add_argument("--count", type=int, default=24, help="cases")
    parser.add_argument("--fusions", default=SETTINGS.fusion, help="comma-separated")
    parser.add_argument("--guidance", default=SETTINGS.guidance)
    parser.add_argument("--steps", type=int, default=SETTINGS.steps)
    parser.add_argument("--confidence", choices=("luminance", "threshold"), default="luminance")
    parser.add_argument("--poses", action="store_true", help="estimate poses in what was made")
    parser.add_argument("--videos", type=Path, help="folder for pictures of the first cases")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()

    animator = Animator.load(given.model, given.checkpoint)
    width, height = (int(side) for side in SETTINGS.resolution.split("x"))
    motions = [np.load(path, allow_pickle=False) for path in given.motions]
    estimator = None
    if given.poses:
        from model.estimators.selection import EstimatorChoice

        estimator = EstimatorChoice("holistic", people=1).load()
    made: dict[str, Callable[[Case], np.ndarray]] = {
        "copy the reference": lambda case: np.repeat(case.reference[None], len(case.truth), axis=0),
        "truth through the VAE": lambda case: reconstructed(animator, case, SETTINGS),
    }
    settings = {
        fusion: SETTINGS.replace(fusion=fusion, guidance=given.guidance, steps=given.steps)
        for fusion in given.fusions.split(",")
    }
    for fusion, each in settings.items():
        made[fusion] = lambda case, each=each: animated(animator, case, each, given.confidence)  # type: ignore[misc]

    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in made}
    for case in cases(given.count, motions, height, width):
        pictures = [case.truth]
        for name, make in made.items():
            video = make(case)
            pictures.append(video)
            found = scores(video, case, settings.get(name, SETTINGS), estimator)
            rows[name].append({"case": case.name, "real": case.real, **found})
        print(
            case.name, *(f"{name}: {rows[name][-1]['moving_psnr']:.2f}" for name in made), file=sys.stderr, flush=True
        )
        if given.videos is not None:
            save_picture(given.videos / f"{case.name}.png", case, pictures)
    if given.json:
        print(json.dumps({"seed": SEED, "frames": FRAMES, "rows": rows}, indent=1))
        return 0
    for title, wanted in (("all", (False, True)), ("made-up motion", (False,)), ("real people's motion", (True,))):
        cells = [
            (name, *(mean_and_spread([row[column] for row in found if row["real"] in wanted]) for column in COLUMNS))
            for name, found in rows.items()
        ]
        print(f"\n{title}, seed {SEED}, {FRAMES} frames each\n{table(('', *COLUMNS), cells)}")
    return 0


def save_picture(path: Path, case: Case, videos: Sequence[np.ndarray]) -> None:
    """Every third frame of the truth and of each video, in rows, the reference before them."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    strips = [np.concatenate([case.reference, *video[::3]], axis=1) for video in videos]
    Image.fromarray(np.concatenate(strips, axis=0)).save(path)


if __name__ == "__main__":
    sys.exit(main())
