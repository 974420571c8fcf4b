import pytest
import torch

from model.posenet import PoseNet


def guidance(frames: int, height: int, width: int) -> torch.Tensor:
    return torch.rand((frames, 3, height, width), generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_new_pose_net_adds_nothing():
    assert not PoseNet(32)(guidance(2, 64, 64)).any()


def test_a_new_pose_net_can_learn():
    net = PoseNet(32)
    net(guidance(2, 64, 64)).sum().backward()
    assert net.final_proj.weight.grad.abs().max() > 0
    assert net.scale.item() == 2.0


def test_size_is_that_of_the_released_one():
    assert sum(parameter.numel() for parameter in PoseNet(320).parameters()) == 205_557


@pytest.mark.parametrize(("height", "width"), [(64, 64), (128, 64), (64, 192)])
def test_features_have_the_size_of_the_latents(height, width):
    assert PoseNet(32)(guidance(3, height, width)).shape == (3, 32, height // 8, width // 8)


@torch.no_grad()
def test_features_are_the_released_ones(golden, networks):
    features = networks.pose_net(golden["in.pose_images_u8"].float() / 127.5 - 1)
    expected = golden["mid.pose_features"]
    torch.testing.assert_close(features, expected, rtol=0, atol=5e-4 * expected.std().item())


@torch.no_grad()
def test_frames_do_not_see_each_other(golden, networks):
    images = golden["in.pose_images_u8"][:3].float() / 127.5 - 1
    one_by_one = torch.cat([networks.pose_net(image[None]) for image in images])
    torch.testing.assert_close(networks.pose_net(images), one_by_one, rtol=0, atol=1e-5)
