import numpy as np
import pytest
import torch

from model.animator import Animator
from model.embedded import embedded_networks
from model.embedded_config import PARAMETERS, SETTINGS, digest
from model.keypoints import NUM_KEYPOINTS, PoseSequence
from model.scene import Scene
from model.settings import AnimationSettings

NAMES = ("unet", "pose_net", "vae", "image_encoder")


def poses(frames: int, seed: int) -> PoseSequence:
    points = np.random.default_rng(seed).uniform(4, 60, (frames, NUM_KEYPOINTS, 2)).astype(np.float32)
    return PoseSequence(
        points,
        np.ones((frames, NUM_KEYPOINTS), np.float32),
        np.zeros((frames, 4), np.float32),
        np.ones(frames, np.float32),
        np.ones(frames, np.int32),
        64,
        64,
    )


def test_every_build_has_the_same_weights():
    first = embedded_networks()
    torch.manual_seed(123)
    second = embedded_networks()
    assert first.digest == second.digest == digest()
    for name in NAMES:
        before, after = (getattr(one, name).state_dict() for one in (first, second))
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_digest_tells_other_weights_apart(monkeypatch):
    before = digest()
    monkeypatch.setattr("model.embedded_config.SEED", 1)
    assert digest() != before


def test_the_global_generator_is_not_moved():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    embedded_networks()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_networks_come_in_other_precisions(dtype):
    networks = embedded_networks(dtype=str(dtype).removeprefix("torch."))
    assert networks.dtype == dtype
    for name in NAMES:
        network = getattr(networks, name)
        assert {parameter.dtype for parameter in network.parameters()} == {dtype}
        assert not network.training


def test_its_size_is_the_one_that_is_stated():
    networks = embedded_networks()
    assert sum(p.numel() for name in NAMES for p in getattr(networks, name).parameters()) == PARAMETERS


def test_an_unknown_dtype_is_named():
    with pytest.raises(ValueError, match="dtype is 'int8', expected one of"):
        embedded_networks(dtype="int8")


def test_its_settings_are_a_choice_that_can_be_made():
    assert SETTINGS.replace(seed=1).window == SETTINGS.window < AnimationSettings().window


def test_the_poses_reach_the_network():
    animator = Animator(embedded_networks())
    settings = AnimationSettings(resolution="64x64", window=8, overlap=2, steps=2)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    first, again, other = (
        np.stack(list(animator.animate(Scene(picture, poses(1, 9), poses(3, seed), None), settings)))
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 0.5
