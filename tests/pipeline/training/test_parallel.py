"""Two workers learn what one learns from the same clips, and what they save and export is whole."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from model.checkpoint import load_networks
from model.training.export import CHECKPOINT
from model.weight_files import fetch_weights
from pipeline.storage import Storage
from pipeline.training.learner import Learner
from pipeline.training.loop import validation_loss
from pipeline.training.parallel import Workers
from pipeline.training.pictures import sample_grid
from pipeline.training.run_state import load_state, save_state
from pipeline.training.settings import TrainingSettings
from pipeline.training.stream import clip_indices
from tests.model.training.networks import random_clip, small_networks

STEPS, CLIPS = 3, 4
# A gradient clipped to a fraction of its norm: a norm of one worker's share alone would show.
SETTINGS = TrainingSettings(
    steps=STEPS, batch=CLIPS, frames=3, width=16, height=16, learning_rate=1e-3, warmup=0, clip_norm=0.1, ema=0.5
)
WHOLE = dataclasses.replace(SETTINGS, learn=("pose_net", "unet", "image_encoder"))
LORA = dataclasses.replace(SETTINGS, learn=("pose_net", "lora"), lora_rank=2)
PARTS = dataclasses.replace(WHOLE, accumulate=2, checkpointing=True)


def step(learner: Learner) -> dict[str, float]:
    indices = clip_indices(learner.step, CLIPS, learner.workers.rank, learner.workers.world)
    return learner.train([random_clip(index) for index in indices], indices)


def saved(learner: Learner, folder: Path, step: int) -> None:
    state = {**learner.state(), "fingerprint": "f"}
    if learner.workers.rank == 0:
        save_state(Storage(str(folder)), step, state, [])


def learn(settings: TrainingSettings, workers: Workers, folder: Path) -> None:
    """All steps, with what a run does between them, and the export. Between the last two the state is read again."""
    learner = Learner(settings, small_networks(), "cpu", workers)
    norms = []
    for number in range(STEPS):
        if number == STEPS - 1:
            saved(learner, folder, number)
            if workers.world > 1:
                dist.barrier()
            learner = Learner(settings, small_networks(), "cpu", workers)
            state = load_state(Storage(str(folder)), "f")
            assert state is not None
            learner.restore(state)
        norms.append(step(learner)["gradient_norm"])
        validation = validation_loss(learner, [random_clip(9)])
        with learner.averaged():
            sample_grid(learner.networks, [random_clip(9)], autoencoding=False)
    saved(learner, folder, STEPS)
    learner.export(folder / f"export{workers.rank}", [])
    if workers.rank == 0:
        torch.save({"norms": torch.tensor(norms), "validation": torch.tensor(validation)}, folder / "metrics.pt")


def worker(rank: int, settings: TrainingSettings, shard: bool, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        learn(settings, Workers(rank, 2, shard), folder)
    finally:
        dist.destroy_process_group()


def alone(settings: TrainingSettings, folder: Path) -> Path:
    folder.mkdir()
    learn(settings, Workers(), folder)
    return folder


def together(settings: TrainingSettings, shard: bool, folder: Path) -> Path:
    folder.mkdir()
    mp.spawn(worker, (settings, shard, folder), nprocs=2)
    return folder


def results(folder: Path) -> dict[str, Any]:
    state = load_state(Storage(str(folder)), "f")
    assert state is not None
    return {**state, **torch.load(folder / "metrics.pt")}


@pytest.mark.parametrize("settings", [WHOLE, LORA, PARTS], ids=["whole", "lora", "in-parts"])
@pytest.mark.parametrize("shard", [False, True], ids=["copies", "spread"])
def test_two_workers_learn_what_one_learns(tmp_path, settings, shard):
    one, two = alone(settings, tmp_path / "one"), together(settings, shard, tmp_path / "two")
    expected, found = results(one), results(two)
    assert found["step"] == STEPS
    close = functools.partial(torch.testing.assert_close, rtol=0, atol=1e-5)
    for name in ("learned", "average"):
        close(found[name], expected[name])
    torch.testing.assert_close(found["optimizer"], expected["optimizer"], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found["norms"], expected["norms"], rtol=1e-4, atol=0)
    torch.testing.assert_close(found["validation"], expected["validation"], rtol=1e-4, atol=0)
    assert (expected["norms"] > settings.clip_norm).all()

    # What was learnt is in the export, whole and under the released names.
    before = small_networks()
    exports = [
        load_networks(fetch_weights(str(folder), str(folder / CHECKPOINT)))
        for folder in (one / "export0", two / "export0")
    ]
    for part in ("unet", "pose_net"):
        theirs, own = (getattr(networks, part).state_dict() for networks in exports)
        torch.testing.assert_close(own, theirs, rtol=2e-3, atol=1e-5)
        assert any(
            (own[name] - tensor).abs().max() > 1e-3 for name, tensor in getattr(before, part).state_dict().items()
        )


def spread_shares(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    learner = Learner(WHOLE, small_networks(), "cpu", Workers(rank, 2, shard=True))
    step(learner)
    held = [*learner.learned.values(), *learner.average.values.values()]
    held += [moment for state in learner.optimizer.state.values() for moment in (state["exp_avg"], state["exp_avg_sq"])]
    torch.save([(tensor.to_local().numel(), tensor.numel()) for tensor in held], folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_what_is_spread_takes_half_on_each_of_two_workers(tmp_path):
    mp.spawn(spread_shares, (tmp_path,), nprocs=2)
    for rank in range(2):
        counts = torch.tensor(torch.load(tmp_path / f"{rank}.pt"))
        assert counts[:, 0].sum() < 0.51 * counts[:, 1].sum()
    # Nothing is missing.
    both = sum(torch.tensor(torch.load(tmp_path / f"{rank}.pt"))[:, 0] for rank in range(2))
    assert torch.equal(both, counts[:, 1])


def agree(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    assert Workers(rank, 2).first_says(rank == 0)
    assert not Workers(rank, 2).first_says(rank == 1)
    dist.destroy_process_group()


def test_all_stop_when_the_first_worker_says_so(tmp_path):
    mp.spawn(agree, (tmp_path,), nprocs=2)
