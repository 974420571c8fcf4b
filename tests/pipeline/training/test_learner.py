"""A learner goes on from a state as if it had never stopped, whatever it learns."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from model.training.batches import TrainingClip
from model.training.learning import Learned
from pipeline.storage import Storage
from pipeline.training.learner import Learner
from pipeline.training.parallel import Workers
from pipeline.training.run_state import load_state, save_state
from pipeline.training.settings import TrainingSettings
from tests.model.training.networks import random_clip, small_networks


def tensors_in(values: Any) -> Iterator[torch.Tensor]:
    """All tensors in a tree of dictionaries and lists."""
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, (dict, list)):
        for value in values.values() if isinstance(values, dict) else values:
            yield from tensors_in(value)


@pytest.mark.parametrize("learn", [("vae_images",), ("vae",), ("temporal",), ("pose_net", "unet", "image_encoder")])
def test_restored_it_takes_the_same_steps(tmp_path, learn: tuple[Learned, ...]):
    objective = "autoencoding" if learn[0].startswith("vae") else "denoising"
    settings = TrainingSettings(
        objective=objective, start="scratch", learn=learn, steps=4, batch=1, frames=3, width=16, height=16, warmup=1
    )

    def learner() -> Learner:
        return Learner(settings, small_networks(), "cpu", Workers())

    def step(each: Learner) -> dict[str, float]:
        return each.train([random_clip(each.step)], [each.step])

    undisturbed = learner()
    for _ in range(2):
        step(undisturbed)
    storage = Storage(str(tmp_path))
    save_state(storage, 2, {**undisturbed.state(), "fingerprint": "f"}, [])
    restored = learner()
    state = load_state(storage, "f")
    assert state is not None
    restored.restore(state)
    in_file = {tensor.untyped_storage().data_ptr() for tensor in tensors_in(state)}
    assert in_file.isdisjoint(tensor.untyped_storage().data_ptr() for tensor in tensors_in(restored.state()))
    for _ in range(2):
        assert step(restored) == step(undisturbed)
    for name, parameter in undisturbed.learned.items():
        assert torch.equal(restored.learned[name], parameter), name
        assert torch.equal(restored.average.values[name], undisturbed.average.values[name]), name


SMALL = TrainingSettings(start="scratch", steps=40, batch=1, frames=3, width=16, height=16, warmup=1, dropout=0.0)


def spoilt(seed: int) -> TrainingClip:
    """A clip whose loss is not finite."""
    clip = random_clip(seed)
    return dataclasses.replace(clip, weights=np.full_like(clip.weights, np.nan))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_nothing_is_learnt_from_gradients_that_are_not_finite(precision):
    learner = Learner(dataclasses.replace(SMALL, precision=precision), small_networks(), "cpu", Workers())
    learner.train([random_clip(0)], [0])
    before = {name: parameter.detach().clone() for name, parameter in learner.learned.items()}
    assert not math.isfinite(learner.train([spoilt(1)], [1])["loss"])
    assert learner.step == 2
    for name, parameter in learner.learned.items():
        assert torch.equal(parameter, before[name]), name
    assert math.isfinite(learner.train([random_clip(2)], [2])["loss"])
    assert any(not torch.equal(parameter, before[name]) for name, parameter in learner.learned.items())
    for values in (learner.learned, learner.average.values):
        assert all(bool(tensor.isfinite().all()) for tensor in values.values())


def test_gradients_that_are_never_finite_end_the_run():
    learner = Learner(SMALL, small_networks(), "cpu", Workers())
    for number in range(19):
        learner.train([spoilt(number)], [number])
    learner.train([random_clip(19)], [19])
    for number in range(20, 39):
        learner.train([spoilt(number)], [number])
    message = (
        r"step 40: gradients were not finite 20 times one after another \(loss nan\); lower learning_rate \(1e-05\)"
    )
    with pytest.raises(ValueError, match=message):
        learner.train([spoilt(39)], [39])
