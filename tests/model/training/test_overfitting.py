"""What learns from a handful of clips learns to look at the poses: nothing else tells which frame is which."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch

from model.checkpoint import Networks
from model.framing import LatentGrid
from model.training.batches import ClipBatch, NoiseSettings, TrainingClip, draw
from model.training.denoising import DenoisingObjective
from pipeline.figures.clip import figure_clip
from pipeline.training.guided_clip import training_clip
from pipeline.training.settings import TrainingSettings
from tests.model.training.networks import small_networks

CLIPS, FRAMES, SIDE = 3, 3, 16
STEPS = 150
SETTINGS = TrainingSettings(frames=FRAMES, hand_weight=1.0)
GRID = LatentGrid(4, 2, 4)
# Much noise: what a frame shows has to be told.
NOISE = NoiseSettings(mean=1.5, deviation=0.5, dropout=0.0, reference_noise=0.0)


@functools.cache
def whole_clip(index: int) -> TrainingClip:
    made = figure_clip(0, index, 12, SIDE, SIDE)
    return training_clip(made.frames, made.detected, SETTINGS, GRID)


def clip_of(index: int, rng: np.random.Generator) -> TrainingClip:
    """Frames of one of the clips, in any order, so that their places say nothing about their poses."""
    chosen = [0, *rng.choice(np.arange(1, 12), FRAMES - 1, replace=False)]
    whole = whole_clip(index)
    return TrainingClip(whole.frames[chosen], whole.guidance[chosen], whole.weights[chosen])


def as_it_is(clip: TrainingClip) -> TrainingClip:
    return clip


def blind(clip: TrainingClip) -> TrainingClip:
    return dataclasses.replace(clip, guidance=np.zeros_like(clip.guidance))


def shuffled(clip: TrainingClip) -> TrainingClip:
    """The poses of other frames."""
    return dataclasses.replace(clip, guidance=clip.guidance[[0, *range(2, FRAMES), 1]])


def objective_of(networks: Networks) -> DenoisingObjective:
    return DenoisingObjective(networks.unet, networks.pose_net, networks.vae, networks.image_encoder)


def trained(told: Callable[[TrainingClip], TrainingClip]) -> DenoisingObjective:
    networks = small_networks()
    objective = objective_of(networks)
    # Random encoders shrink what they see; unit deviation is what noise levels are meant for.
    pixels = ClipBatch.of([clip_of(index, np.random.default_rng(0)) for index in range(CLIPS)]).frames.flatten(0, 1)
    with torch.no_grad():
        deviation = networks.vae.encode(pixels).latent_dist.mode().std()
    networks.vae.register_to_config(scaling_factor=float(1 / deviation))
    learned = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, 2e-3, betas=(0.9, 0.99), fused=True)
    rng = np.random.default_rng(1)
    for step in range(STEPS):
        batch = ClipBatch.of([told(clip_of(index, rng)) for index in range(CLIPS)])
        indices = range(CLIPS * step, CLIPS * (step + 1))
        losses = objective(batch, draw(0, indices, (FRAMES, 4, SIDE // 2, SIDE // 2), (SIDE, SIDE), NOISE))
        optimizer.zero_grad()
        losses.mean().backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
    return objective.eval()


@torch.no_grad()
def loss(objective: DenoisingObjective, told: Callable[[TrainingClip], TrainingClip]) -> float:
    rng = np.random.default_rng(2)
    found = []
    for round_ in range(6):
        batch = ClipBatch.of([told(clip_of(index, rng)) for index in range(CLIPS)])
        indices = range(10_000 + CLIPS * round_, 10_000 + CLIPS * (round_ + 1))
        found.append(objective(batch, draw(0, indices, (FRAMES, 4, SIDE // 2, SIDE // 2), (SIDE, SIDE), NOISE)).mean())
    return float(torch.stack(found).mean())


@pytest.mark.timeout(600)
def test_poses_are_learnt_from_a_handful_of_clips():
    seeing = trained(as_it_is)
    told, wrong = loss(seeing, as_it_is), loss(seeing, shuffled)
    unseeing, untrained = loss(trained(blind), blind), loss(objective_of(small_networks()), as_it_is)
    print(f"told {told:.3f}, blind {unseeing:.3f}, untrained {untrained:.3f}, wrong poses {wrong:.3f}")
    assert told < 0.8 * unseeing
    assert told < 0.3 * untrained
    assert wrong > 1.3 * told
