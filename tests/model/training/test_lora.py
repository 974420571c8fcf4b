import pytest
import torch
from torch import nn

from model.training.learning import choose_learned
from model.training.lora import add_lora, merged_state
from tests.model.training.networks import small_networks


def answer(unet: nn.Module) -> torch.Tensor:
    source = torch.Generator().manual_seed(0)
    sample, embedding = torch.randn(1, 3, 8, 8, 8, generator=source), torch.randn(1, 1, 16, generator=source)
    with torch.no_grad():
        return unet(sample, torch.tensor([0.1]), embedding, torch.ones(1, 3), return_dict=False)[0]


@pytest.fixture
def unet() -> nn.Module:
    return small_networks().unet


def test_adapters_change_nothing_before_they_have_learnt(unet):
    before = answer(unet)
    add_lora(unet, 2, 0)
    assert any("lora_" in name for name, _ in unet.named_parameters())
    torch.testing.assert_close(answer(unet), before, rtol=1e-3, atol=1e-5)


def test_merged_weights_do_what_the_adapters_did(unet):
    add_lora(unet, 2, 0)
    before = answer(unet)
    for name, parameter in unet.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, 0, 0.2)
    changed = answer(unet)
    assert not torch.allclose(changed, before, atol=1e-3)
    plain = small_networks().unet
    merged = merged_state(unet)
    assert merged.keys() == plain.state_dict().keys()
    plain.load_state_dict(merged)
    torch.testing.assert_close(answer(plain), changed, rtol=1e-4, atol=1e-5)


def test_only_adapters_learn_and_every_one_of_them_does(unet):
    add_lora(unet, 2, 0)
    learned = choose_learned(nn.ModuleDict({"unet": unet}), ["lora"])
    assert learned
    assert all(".lora_" in name for name in learned)
    for name, parameter in unet.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, 0, 0.2)
    sample, embedding = torch.randn(1, 3, 8, 8, 8), torch.randn(1, 1, 16)
    found = unet(sample, torch.tensor([0.1]), embedding, torch.ones(1, 3), return_dict=False)[0]
    found.square().mean().backward()
    # A projection that sees one token has a softmax of 1 whatever it says; it must not have been given an adapter.
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in learned.values())


def test_the_seed_draws_the_adapters():
    drawn = []
    for seed in (1, 1, 2):
        unet = small_networks().unet
        add_lora(unet, 2, seed)
        drawn.append(torch.cat([p.flatten() for name, p in unet.named_parameters() if "lora_A" in name]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_network_without_adapters_is_as_it_is(unet):
    state = unet.state_dict()
    merged = merged_state(unet)
    assert merged.keys() == state.keys()
    assert all(torch.equal(merged[name], state[name]) for name in state)
