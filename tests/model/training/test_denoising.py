import dataclasses

import numpy as np
import pytest
import torch

from model.denoiser import Condition, conditional_pass, unconditional_pass
from model.training.batches import ClipBatch, Draws, NoiseSettings, draw
from model.training.denoising import DenoisingObjective
from model.training.noising import noised, velocity
from tests.model.training.networks import random_clip, small_networks

LATENT = (3, 4, 8, 8)


@pytest.fixture
def objective():
    networks = small_networks()
    # A PoseNet that adds something, or its dropout would not show.
    torch.nn.init.normal_(networks.pose_net.final_proj.weight, 0.0, 0.5, generator=torch.Generator().manual_seed(1))
    return DenoisingObjective(networks.unet, networks.pose_net, networks.vae, networks.image_encoder).eval()


def draws_of(dropped: list[bool], strength: float = 0.0) -> Draws:
    found = draw(0, range(len(dropped)), LATENT, (16, 16), NoiseSettings(reference_noise=0.0))
    return dataclasses.replace(
        found, dropped=torch.tensor(dropped), reference_strength=torch.full((len(dropped),), strength)
    )


@torch.no_grad()
def loss_by_way_of_sampling(objective: DenoisingObjective, batch: ClipBatch, draws: Draws, clip: int) -> float:
    """The loss, its prediction made by the very functions that denoise at inference."""
    frames = batch.frames[clip]
    clean = objective.vae.encode(frames).latent_dist.mode()
    condition = Condition(
        image_embedding=objective._embedding(frames[:1]),
        reference_latent=clean[0],
        time_ids=torch.tensor([[6.0, 127.0, draws.reference_strength[clip].item()]]),
        pose_features=objective.pose_net(batch.guidance[clip]),
        guidance=torch.ones(3),
        guided=True,
    )
    run = unconditional_pass if draws.dropped[clip] else conditional_pass
    sigma, noise = draws.sigma[clip : clip + 1], draws.noise[clip : clip + 1]
    found = run(objective.unet, noised(clean[None], noise, sigma)[0], sigma.item(), condition)
    return float(((found - velocity(clean[None], noise, sigma)[0]) ** 2).mean())


def test_the_network_is_told_in_training_what_it_is_told_in_both_passes_of_sampling(objective):
    batch = ClipBatch.of([random_clip(1), random_clip(2)])
    draws = draws_of([False, True])
    with torch.no_grad():
        found = objective(batch, draws)
    expected = [loss_by_way_of_sampling(objective, batch, draws, clip) for clip in (0, 1)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_a_dropped_clip_does_not_depend_on_reference_or_pose(objective):
    clip, other = random_clip(1), random_clip(2)
    # The reference is a frame of the clip as well: what is learnt there must stay.
    changed = dataclasses.replace(clip, guidance=other.guidance)
    with torch.no_grad():
        same = [objective(ClipBatch.of([each]), draws_of([True])) for each in (clip, changed)]
        told = [objective(ClipBatch.of([each]), draws_of([False])) for each in (clip, changed)]
    assert same[0] == same[1]
    assert told[0] != told[1]


def test_weights_multiply_the_error_where_they_are(objective):
    clip = random_clip(1)
    doubled = dataclasses.replace(clip, weights=2 * clip.weights)
    half = clip.weights.copy()
    half[:, :4] = 10
    part = dataclasses.replace(clip, weights=half)
    with torch.no_grad():
        plain, twice, partly = (
            objective(ClipBatch.of([each]), draws_of([False])).item() for each in (clip, doubled, part)
        )
    assert twice == pytest.approx(2 * plain, rel=1e-5)
    assert plain < partly < 10 * plain


def test_noise_on_the_reference_is_told_and_does_not_touch_what_is_learnt(objective):
    batch = ClipBatch.of([random_clip(1)])
    with torch.no_grad():
        clean, reference = objective._encoded(batch.frames, draws_of([False]))
        still_clean, noisy = objective._encoded(batch.frames, draws_of([False], strength=0.5))
    assert torch.equal(clean, still_clean)
    assert not torch.equal(reference, noisy)
    assert objective._time_ids(draws_of([False], strength=0.5)).tolist() == [[6.0, 127.0, 0.5]]


def test_only_the_vae_gets_no_gradient(objective):
    objective(ClipBatch.of([random_clip(1)]), draws_of([False])).sum().backward()
    for part in ("unet", "pose_net", "image_encoder"):
        assert any(parameter.grad is not None for parameter in getattr(objective, part).parameters()), part
    assert all(parameter.grad is None for parameter in objective.vae.parameters())


def test_what_is_drawn_for_a_clip_does_not_depend_on_its_company():
    settings = NoiseSettings(dropout=0.5)
    alone = draw(3, [7], LATENT, (16, 16), settings)
    among = draw(3, [2, 7, 9], LATENT, (16, 16), settings)
    for name in ("sigma", "noise", "dropped", "reference_strength", "reference_noise"):
        assert torch.equal(getattr(alone, name)[0], getattr(among, name)[1]), name


def test_shares_of_dropped_and_noised_clips_are_those_asked_for():
    draws = draw(0, range(2000), (1, 1, 1, 1), (1, 1), NoiseSettings(dropout=0.1, reference_noise=0.25))
    assert draws.dropped.float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert (draws.reference_strength > 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert draws.reference_strength[draws.reference_strength > 0].log().mean().item() == pytest.approx(-3, abs=0.1)
