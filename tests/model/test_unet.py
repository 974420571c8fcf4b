import functools
import logging
import sys
from types import ModuleType

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0, XFormersAttnProcessor

from model.unet import PoseUNet, SingleTokenAttention, set_attention, xformers_fault


@pytest.fixture
def unet(networks) -> PoseUNet:
    """The golden UNet as diffusers computes it."""
    networks.unet.set_attn_processor(AttnProcessor2_0())
    return networks.unet


@torch.no_grad()
def run(unet: PoseUNet, golden, prefix: str = "unet.", pose: torch.Tensor | None = None) -> torch.Tensor:
    return unet(
        golden[f"{prefix}sample"],
        golden["unet.timestep"],
        golden[f"{prefix}encoder_hidden_states"],
        golden[f"{prefix}added_time_ids"],
        pose_features=pose,
        return_dict=False,
    )[0]


def assert_released(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-4 * expected.std().item())


def test_pose_features_are_added_after_the_first_convolution_as_released(golden, unet):
    assert_released(run(unet, golden, pose=golden["unet.pose_features"]), golden["unet.out_with_pose"])


def test_without_pose_features_it_is_the_plain_unet(golden, unet):
    assert_released(run(unet, golden), golden["unet.out_without_pose"])
    assert_released(run(unet, golden, "unet.second_"), golden["unet.second_out_without_pose"])


@torch.no_grad()
def test_a_batch_of_two_is_two_single_runs(golden, unet):
    set_attention(unet, "sdpa")
    both = unet(
        torch.cat([golden["unet.sample"], golden["unet.second_sample"]]),
        golden["unet.timestep"],
        torch.cat([golden["unet.encoder_hidden_states"], golden["unet.second_encoder_hidden_states"]]),
        torch.cat([golden["unet.added_time_ids"], golden["unet.second_added_time_ids"]]),
        return_dict=False,
    )[0]
    assert_released(both[:1], golden["unet.out_without_pose"])
    assert_released(both[1:], golden["unet.second_out_without_pose"])


def test_pose_features_of_one_call_do_not_stay_for_the_next(golden, unet):
    run(unet, golden, pose=golden["unet.pose_features"])
    assert_released(run(unet, golden), golden["unet.out_without_pose"])


def test_pose_features_of_a_failed_call_do_not_stay_for_the_next(golden, unet):
    with pytest.raises(RuntimeError):
        run(unet, golden, pose=torch.zeros(8, 32, 5, 5))
    assert_released(run(unet, golden), golden["unet.out_without_pose"])


@torch.no_grad()
def test_folded_cross_attention_is_the_unfolded_one():
    torch.manual_seed(0)
    attention = Attention(query_dim=64, cross_attention_dim=32, heads=4, dim_head=16, rescale_output_factor=2.0).eval()
    pixels, token = torch.randn(3, 20, 64), torch.randn(3, 1, 32)
    unfolded = AttnProcessor2_0()(attention, pixels, token)
    folded = SingleTokenAttention()(attention, pixels, token)
    assert folded.shape == unfolded.shape
    torch.testing.assert_close(folded, unfolded, rtol=0, atol=1e-6)


def test_folded_cross_attention_refuses_two_tokens():
    attention = Attention(query_dim=64, cross_attention_dim=32, heads=4, dim_head=16)
    with pytest.raises(ValueError, match="sees 2 tokens, expected 1"):
        SingleTokenAttention()(attention, torch.zeros(1, 20, 64), torch.zeros(1, 2, 32))


def test_choosing_sdpa_folds_every_cross_attention_and_changes_nothing(golden, unet):
    unfolded = run(unet, golden, pose=golden["unet.pose_features"])
    set_attention(unet, "sdpa")
    folded = {name for name, one in unet.attn_processors.items() if isinstance(one, SingleTokenAttention)}
    assert folded == {name for name in unet.attn_processors if ".attn2." in name}
    assert 0 < len(folded) < len(unet.attn_processors)
    found = run(unet, golden, pose=golden["unet.pose_features"])
    torch.testing.assert_close(found, unfolded, rtol=0, atol=1e-5 * unfolded.std().item())


def test_xformers_is_for_attention_within_frames(unet, monkeypatch):
    monkeypatch.setattr("model.unet.xformers_fault", lambda device, dtype: None)
    set_attention(unet, "xformers")
    chosen = {name for name, one in unet.attn_processors.items() if isinstance(one, XFormersAttnProcessor)}
    assert chosen == {n for n in unet.attn_processors if ".attn1." in n and ".temporal_transformer_blocks." not in n}
    assert chosen


def no_kernels(query, key, value):
    raise NotImplementedError("No operator found for `memory_efficient_attention_forward` with inputs:\n  query ...")


@pytest.mark.parametrize(
    ("attention", "reason"),
    [
        (no_kernels, "NotImplementedError: No operator found for `memory_efficient_attention_forward` with inputs:"),
        (lambda query, key, value: value, None),
    ],
    ids=["built for another PyTorch", "working"],
)
def test_xformers_is_tried_before_it_is_trusted(monkeypatch, attention, reason):
    module = ModuleType("xformers.ops")
    module.memory_efficient_attention = attention
    monkeypatch.setitem(sys.modules, "xformers", ModuleType("xformers"))
    monkeypatch.setitem(sys.modules, "xformers.ops", module)
    # As on a GPU, whose kind of tensors is all that differs.
    monkeypatch.setattr(torch, "zeros", functools.partial(_on_cpu, torch.zeros))
    assert xformers_fault(torch.device("cuda"), torch.float16) == reason


def _on_cpu(make, *shape, device, **settings):
    assert device.type == "cuda"
    return make(*shape, **settings)


def test_xformers_without_a_gpu_falls_back_with_one_warning(golden, unet, caplog):
    set_attention(unet, "sdpa")
    expected = run(unet, golden)
    with caplog.at_level(logging.WARNING):
        set_attention(unet, "xformers")
        found = run(unet, golden)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "xformers" in record.getMessage()
    assert "cpu" in record.getMessage()
    assert torch.equal(found, expected)


def test_an_unknown_attention_is_named(unet):
    with pytest.raises(ValueError, match="attention is 'flash', expected one of sdpa, xformers"):
        set_attention(unet, "flash")
