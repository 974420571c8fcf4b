"""A learner goes on from a state as if it had never stopped, whatever it learns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

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
