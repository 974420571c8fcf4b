import dataclasses

import pytest
import torch
from torch import nn

from model.training.batches import ClipBatch, NoiseSettings, draw
from model.training.denoising import DenoisingObjective
from model.training.learning import choose_learned
from model.training.memory import Kept, TrainingMemory, activations, training_memory
from tests.model.training.networks import random_clip, small_networks


def test_what_autograd_keeps_is_counted_once_and_weights_are_not():
    layer = nn.Linear(8, 8)
    kept, value = Kept(layer), torch.randn(4, 8, requires_grad=True)
    with kept.counting():
        hidden = layer(value)
        _ = hidden.sigmoid() * hidden.view(8, 4).t().reshape(4, 8)
    # The input, the output of the sigmoid (twice wanted) and the copy that reshape makes.
    assert kept.bytes == 3 * 32 * 4


@pytest.fixture
def objective() -> DenoisingObjective:
    networks = small_networks()
    return DenoisingObjective(networks.unet, networks.pose_net, networks.vae, networks.image_encoder)


def kept_by(objective: DenoisingObjective, clips: int) -> int:
    batch = ClipBatch.of([random_clip(index) for index in range(clips)])
    draws = draw(0, range(clips), (3, 4, 8, 8), (16, 16), NoiseSettings())
    return activations(objective, lambda: objective(batch, draws))


def test_activations_grow_with_the_clips(objective):
    choose_learned(objective, ["pose_net", "unet"])
    one, three = kept_by(objective, 1), kept_by(objective, 3)
    assert 2.5 * one < three < 3.1 * one


def test_nothing_is_kept_of_what_does_not_learn(objective):
    choose_learned(objective, ["pose_net", "unet"])
    everything = kept_by(objective, 1)
    choose_learned(objective, ["unet"])
    assert kept_by(objective, 1) < everything


def test_checkpointing_keeps_less_and_still_trains(objective):
    choose_learned(objective, ["unet"])
    whole = kept_by(objective, 2)
    objective.unet.enable_gradient_checkpointing()
    assert 0.2 * whole < kept_by(objective, 2) < 0.8 * whole


def test_the_sums_are_those_of_adamw_in_float32(objective):
    learned = choose_learned(objective, ["unet"])
    learning = sum(parameter.numel() for parameter in learned.values())
    frozen = sum(parameter.numel() for parameter in objective.parameters()) - learning
    memory = training_memory(objective, learned, 1000, (1, 3, 16, 16), shards=1, gradients_stay=False)
    assert memory == TrainingMemory(
        weights=4 * (learning + frozen),
        gradients=4 * learning,
        moments=8 * learning,
        average=4 * learning,
        activations=1000,
        gathered=0,
        encoding=4 * 3 * 256 * 32,
        gradients_stay=False,
    )
    assert memory.peak == memory.weights + memory.moments + memory.average + 4 * learning
    large = dataclasses.replace(memory, activations=10**12)
    assert large.peak == 10**12 + memory.peak - 4 * learning


def test_gradients_that_stay_and_what_is_put_together_come_on_top_of_activations(objective):
    learned = choose_learned(objective, ["unet"])
    memory = training_memory(objective, learned, 10**9, (0, 3, 16, 16), shards=2, gradients_stay=False)
    before = memory.weights + memory.moments + memory.average
    assert memory.peak == before + 10**9 + memory.gathered
    assert dataclasses.replace(memory, gradients_stay=True).peak == memory.peak + memory.gradients
    encoding = dataclasses.replace(memory, activations=0, encoding=10**9, gradients_stay=True)
    assert encoding.peak == before + 10**9 + memory.gradients


def test_what_is_spread_is_shared_and_one_part_of_it_is_whole(objective):
    learned = choose_learned(objective, ["unet"])
    alone, spread = (training_memory(objective, learned, 0, (0, 3, 16, 16), shards, False) for shards in (1, 4))
    assert spread.moments == pytest.approx(alone.moments / 4, abs=16)
    largest = max(sum(p.numel() for p in block.parameters()) for block in objective.unet.up_blocks)
    assert spread.gathered == 8 * largest
