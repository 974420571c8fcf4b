"""Two workers learn what one learns from the same clips, and what they save and export is whole."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from diffusers import AutoencoderKLTemporalDecoder
from torch.distributed.tensor import DTensor

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

STEPS, CLIPS = 2, 4
# The norm is clipped far: one of a single worker's share would show.
WHOLE = TrainingSettings(
    learn=("pose_net", "unet", "image_encoder"),
    steps=STEPS,
    batch=CLIPS,
    frames=3,
    width=16,
    height=16,
    learning_rate=1e-4,
    warmup=0,
    clip_norm=0.01,
    ema=0.5,
)
SETTINGS = {
    "lora": dataclasses.replace(WHOLE, learn=("pose_net", "lora"), lora_rank=2),
    "parts": dataclasses.replace(WHOLE, accumulate=2, checkpointing=True),
}
VAE = dataclasses.replace(WHOLE, objective="autoencoding", learn=("vae",))
# Spread tensors take a minute in small sizes.
SPREAD = ["copies", pytest.param("shards", marks=pytest.mark.soak)]


def step(learner: Learner) -> dict[str, float]:
    indices = clip_indices(learner.step, CLIPS, learner.workers.rank, learner.workers.world)
    return learner.train([random_clip(index) for index in indices], indices)


def save(learner: Learner, folder: Path) -> None:
    state = {**learner.state(), "fingerprint": "f"}
    if learner.workers.rank == 0:
        save_state(Storage(str(folder)), learner.step, state, [])


def learn(settings: TrainingSettings, workers: Workers, folder: Path) -> None:
    """All steps, with what a run does between them, and the export. Before the last one the state is read again."""
    learner = Learner(settings, small_networks(), "cpu", workers)
    norms, losses = [], []
    for number in range(STEPS):
        if number == STEPS - 1:
            save(learner, folder)
            if workers.world > 1:
                dist.barrier()
            learner = Learner(settings, small_networks(), "cpu", workers)
            state = load_state(Storage(str(folder)), "f")
            assert state is not None
            learner.restore(state)
        metrics = step(learner)
        norms.append(metrics["gradient_norm"])
        losses.append(metrics["loss"])
        validation = validation_loss(learner, [random_clip(9)])
        if number == 0:
            with learner.averaged():
                sample_grid(learner.networks, [random_clip(9)], autoencoding=False)
    save(learner, folder)
    torch.save(held(learner), folder / f"held{workers.rank}.pt")
    if workers.world > 1 and not workers.shard:
        gradients = [each.grad for each in learner.learned.values() if each.grad is not None]
        memories = {gradient.untyped_storage().data_ptr() for gradient in gradients}
        torch.save([len(gradients), len(memories)], folder / f"gradients{workers.rank}.pt")
    learner.export(folder / f"export{workers.rank}", [])
    if workers.rank == 0:
        found = {"norms": norms, "losses": losses, "validation": validation}
        torch.save({name: torch.tensor(values) for name, values in found.items()}, folder / "metrics.pt")


def learn_vae(workers: Workers, folder: Path) -> None:
    """Steps of the VAE, a validation and the export."""
    # It has one layer a block, so that the attention in its middle is used by none.
    learner = Learner(VAE, small_networks(), "cpu", workers)
    for _ in range(STEPS):
        step(learner)
    validation = validation_loss(learner, [random_clip(9)])
    save(learner, folder)
    learner.export(folder / f"export{workers.rank}", [random_clip(9)])
    if workers.rank == 0:
        torch.save({"validation": torch.tensor(validation)}, folder / "metrics.pt")


def held(learner: Learner) -> list[tuple[int, int]]:
    """Of each tensor that learning takes: numbers that this worker has, and that there are."""
    tensors = [*learner.learned.values(), *(each.grad for each in learner.learned.values())]
    tensors += learner.average.values.values()
    tensors += [state[name] for state in learner.optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    return [
        ((tensor.to_local() if isinstance(tensor, DTensor) else tensor).numel(), tensor.numel()) for tensor in tensors
    ]


def work(rank: int, spread: str, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for name, settings in SETTINGS.items():
        learn(settings, Workers(rank, 2, shard=spread == "shards"), folder / name)
    learn_vae(Workers(rank, 2, shard=spread == "shards"), folder / "vae")
    torch.save([Workers(rank, 2).first_says(rank == first) for first in (0, 1)], folder / f"said{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders with what one worker wrote, ``alone``, and what two did: made when first asked for."""

    @functools.cache
    def run(spread: str) -> Path:
        folder = tmp_path_factory.mktemp(spread)
        if spread == "alone":
            for name, settings in SETTINGS.items():
                learn(settings, Workers(), folder / name)
            learn_vae(Workers(), folder / "vae")
        else:
            mp.spawn(work, (spread, folder), nprocs=2)
        return folder

    return run


def result(folder: Path) -> dict[str, Any]:
    state = load_state(Storage(str(folder)), "f")
    assert state is not None
    return {**state, **torch.load(folder / "metrics.pt")}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("spread", SPREAD)
def test_two_workers_learn_what_one_learns(runs, settings, spread):
    expected, found = result(runs("alone") / settings), result(runs(spread) / settings)
    assert found["step"] == STEPS
    for name in ("learned", "average"):
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-5)
    torch.testing.assert_close(found["optimizer"], expected["optimizer"], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found["norms"], expected["norms"], rtol=1e-4, atol=0)
    torch.testing.assert_close(found["losses"], expected["losses"], rtol=1e-4, atol=0)
    torch.testing.assert_close(found["validation"], expected["validation"], rtol=1e-4, atol=0)
    assert (expected["norms"] > WHOLE.clip_norm).all()


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("spread", SPREAD)
def test_the_averages_are_exported_whole_under_the_released_names(runs, settings, spread):
    folder = runs(spread) / settings
    average = result(folder)["average"]
    base = {f"unet.{name}": tensor for name, tensor in small_networks().unet.state_dict().items()}
    exported = load_networks(fetch_weights(str(folder / "export0"), str(folder / "export0" / CHECKPOINT)))
    found = {
        f"{part}.{name}": tensor
        for part in ("unet", "pose_net", "image_encoder")
        for name, tensor in getattr(exported, part).state_dict().items()
    }
    for name, tensor in average.items():
        if ".lora_A." in name:
            owner = name.removesuffix(".lora_A.default.weight") + ".weight"
            second = average[name.replace(".lora_A.", ".lora_B.")]
            assert second.any()
            torch.testing.assert_close(found[owner], (base[owner] + second @ tensor).half().float(), rtol=1e-3, atol=0)
        elif ".lora_B." not in name:
            assert torch.equal(found[name], tensor.half().float()), name


@pytest.mark.parametrize("spread", SPREAD)
def test_two_workers_learn_the_vae_that_one_learns(runs, spread):
    expected, found = result(runs("alone") / "vae"), result(runs(spread) / "vae")
    torch.testing.assert_close(found["learned"], expected["learned"], rtol=0, atol=1e-5)
    torch.testing.assert_close(found["optimizer"], expected["optimizer"], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found["validation"], expected["validation"], rtol=1e-4, atol=0)
    whole = AutoencoderKLTemporalDecoder.from_pretrained(runs(spread) / "vae" / "export0" / "vae", variant="fp16")
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(tensor, found["average"][f"vae.{name}"], rtol=1e-3, atol=1e-7)


def test_gradients_are_in_the_buffers_that_are_sent(runs):
    gradients, memories = torch.load(runs("copies") / "parts" / "gradients0.pt")
    assert memories < gradients / 2


@pytest.mark.soak
def test_what_is_spread_takes_half_on_each_of_two_workers(runs):
    counts = [torch.tensor(torch.load(runs("shards") / "parts" / f"held{rank}.pt")) for rank in range(2)]
    for count in counts:
        assert count[:, 0].sum() < 0.51 * count[:, 1].sum()
    assert torch.equal(counts[0][:, 0] + counts[1][:, 0], counts[0][:, 1])


def test_all_stop_when_the_first_worker_says_so(runs):
    assert [torch.load(runs("copies") / f"said{rank}.pt") for rank in range(2)] == [[True, False]] * 2
