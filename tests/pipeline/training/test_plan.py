import dataclasses
from pathlib import Path

import pytest

from model.training.batches import ClipBatch, draw
from model.training.denoising import DenoisingObjective
from model.training.export import export
from model.training.memory import Kept
from pipeline.training.plan import plan
from pipeline.training.settings import TrainingSettings
from tests.model.training.networks import random_clip, small_networks

SETTINGS = TrainingSettings(batch=4, accumulate=2, frames=3, width=16, height=16, reference_noise=0.0)


@pytest.fixture
def model(tmp_path: Path) -> str:
    export(small_networks(), tmp_path)
    return str(tmp_path)


def test_what_is_foreseen_is_what_a_step_keeps(model):
    networks = small_networks()
    objective = DenoisingObjective(networks.unet, networks.pose_net, networks.vae, networks.image_encoder)
    objective.unet.requires_grad_(True)
    objective.pose_net.requires_grad_(True)
    batch = ClipBatch.of([random_clip(index) for index in range(2)])
    draws = draw(0, range(2), (3, 4, 8, 8), (16, 16), SETTINGS.noise)
    kept = Kept(objective)
    with kept.counting():
        objective(batch, draws)
    planned = plan(SETTINGS, model, None, 1, shard=False)
    assert planned.clips == 2
    assert planned.memory.activations == pytest.approx(kept.bytes, rel=0.01)
    assert planned.parameters == sum(parameter.numel() for parameter in objective.parameters())


@pytest.mark.parametrize(
    "changes",
    [
        {"checkpointing": True},
        {"precision": "bfloat16"},
        {"learn": ("lora",), "lora_rank": 2},
        {"objective": "autoencoding", "learn": ("vae",)},
        {"batch": 2, "accumulate": 2},
    ],
    ids=str,
)
def test_every_kind_of_run_can_be_foreseen(model, changes):
    before = plan(SETTINGS, model, None, 1, shard=False)
    after = plan(dataclasses.replace(SETTINGS, **changes), model, None, 1, shard=False)
    assert after.memory.activations > 0
    assert after.memory.activations < before.memory.activations or changes.get("objective") == "autoencoding"
    assert after.learned < before.learned or "learn" not in changes


def test_workers_share_the_clips_and_what_is_spread(model):
    alone, spread = plan(SETTINGS, model, None, 1, shard=False), plan(SETTINGS, model, None, 2, shard=True)
    assert (alone.clips, spread.clips) == (2, 1)
    assert spread.memory.moments == pytest.approx(alone.memory.moments / 2, abs=16)


@pytest.mark.parametrize(
    ("accumulate", "workers", "shard", "stay"),
    [(1, 1, False, False), (2, 1, False, True), (1, 2, False, True), (1, 2, True, False), (4, 4, True, False)],
)
def test_gradients_stay_between_parts_and_in_what_copies_agree_in(model, accumulate, workers, shard, stay):
    planned = plan(dataclasses.replace(SETTINGS, accumulate=accumulate), model, None, workers, shard)
    assert planned.memory.gradients_stay == stay
    assert ("gradients, beside them" in planned.describe()) == stay


def test_the_table_says_what_learns_and_how_much_is_needed(model):
    planned = plan(SETTINGS, model, None, 1, shard=False)
    shown = planned.describe()
    assert shown.startswith(f"{planned.learned:,} of {planned.parameters:,} parameters learn")
    assert "activations of 2 clips" in shown
    assert f"{planned.memory.peak / 2**30:.2f} GiB" in shown.splitlines()[-1]
