import pytest
import torch

from model.training.autoencoding import AutoencodingObjective, latent_scale
from model.training.averaging import Average
from model.training.denoising import DenoisingObjective
from model.training.learning import choose_learned, rate
from tests.model.training.networks import small_networks


@pytest.fixture
def objective():
    networks = small_networks()
    return DenoisingObjective(networks.unet, networks.pose_net, networks.vae, networks.image_encoder)


def test_only_what_is_chosen_learns(objective):
    learned = choose_learned(objective, ["pose_net"])
    assert {name.split(".")[0] for name in learned} == {"pose_net"}
    assert all(parameter.requires_grad == (name in learned) for name, parameter in objective.named_parameters())


def test_temporal_is_what_looks_along_time(objective):
    learned = choose_learned(objective, ["temporal"])
    assert all(name.startswith("unet.") for name in learned)
    assert any(".temporal_transformer_blocks." in name for name in learned)
    assert any(".temporal_res_block." in name for name in learned)
    assert any(name.endswith("mix_factor") for name in learned)
    assert not any(".spatial_res_block." in name or name.startswith("unet.conv_in") for name in learned)


def test_a_part_that_the_objective_does_not_have_is_named(objective):
    with pytest.raises(ValueError, match="learn is vaes: this objective has no such part"):
        choose_learned(objective, ["vaes"])  # type: ignore[list-item]


def test_the_rate_grows_over_the_warm_up_and_then_follows_its_schedule():
    assert [rate(step, 10, 4, "constant") for step in (0, 1, 3, 4, 9)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    cosine = [rate(step, 10, 4, "cosine") for step in (3, 4, 7, 10)]
    assert cosine == pytest.approx([1.0, 1.0, 0.5, 0.0])


def test_the_average_follows_fast_at_first_and_slowly_later():
    weight = {"w": torch.zeros(1)}
    average = Average(weight, 0.99)
    average.update({"w": torch.ones(1)}, 0)
    assert average.values["w"].item() == pytest.approx(0.9)
    average.update({"w": torch.zeros(1)}, 10_000)
    assert average.values["w"].item() == pytest.approx(0.9 * 0.99)


def test_latents_have_unit_deviation_once_they_are_scaled():
    vae = small_networks().vae
    frames = torch.rand((6, 3, 16, 16), generator=torch.Generator().manual_seed(0)) * 2 - 1
    scale = latent_scale(vae, frames)
    with torch.no_grad():
        assert (vae.encode(frames).latent_dist.mode() * scale).std().item() == pytest.approx(1, abs=1e-4)


def test_the_vae_learns_to_give_back_one_clip():
    torch.manual_seed(0)
    objective = AutoencodingObjective(small_networks().vae)
    frames = torch.rand(1, 2, 3, 16, 16) * 2 - 1
    frames = frames.round()  # black and white: far from the mean colour
    noise = torch.zeros(1, 2, 4, 8, 8)
    optimizer = torch.optim.AdamW(objective.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = objective(frames, noise).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
