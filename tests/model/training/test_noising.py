import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.euler import euler_step
from model.sampler import input_scale
from model.training.noising import draw_sigmas, network_input, noised, velocity

SIGMAS = st.floats(0.002, 700)


@given(SIGMAS, st.integers(0, 1000))
def test_a_step_to_zero_along_the_true_velocity_gives_the_clean_latents(sigma, seed):
    source = torch.Generator().manual_seed(seed)
    clean, noise = torch.randn((2, 3, 4, 2, 2), generator=source, dtype=torch.float64).unbind()
    level = torch.full((3,), sigma, dtype=torch.float64)
    noisy = noised(clean, noise, level)
    found = euler_step(noisy, velocity(clean, noise, level), sigma, 0.0)
    torch.testing.assert_close(found, clean, rtol=0, atol=1e-9 * (1 + sigma))


@given(SIGMAS)
def test_the_network_sees_what_it_sees_when_sampling(sigma):
    noisy = torch.linspace(-3, 3, 8, dtype=torch.float64).view(1, 8)
    found = network_input(noisy, torch.tensor([sigma], dtype=torch.float64))
    torch.testing.assert_close(found, noisy * input_scale(sigma))


@given(SIGMAS, st.floats(-2, 2))
def test_plain_error_of_v_is_the_weighted_error_of_the_clean_latents(sigma, error):
    # SVD: weight (1 + s^2) / s^2 on (D - z)^2, where D = x / (1 + s^2) - s / sqrt(1 + s^2) v.
    clean, noise = 0.3, -1.1
    level = torch.tensor([sigma], dtype=torch.float64)
    v = (
        velocity(
            torch.tensor([[clean]], dtype=torch.float64), torch.tensor([[noise]], dtype=torch.float64), level
        ).item()
        + error
    )
    denoised = (clean + sigma * noise) / (1 + sigma**2) - sigma / math.sqrt(1 + sigma**2) * v
    weighted = (1 + sigma**2) / sigma**2 * (denoised - clean) ** 2
    assert weighted == pytest.approx(error**2, rel=1e-6, abs=1e-9)


def test_each_clip_has_a_level_of_its_own():
    clean, noise = torch.zeros(2, 1), torch.ones(2, 1)
    assert noised(clean, noise, torch.tensor([1.0, 5.0])).flatten().tolist() == [1.0, 5.0]


def test_levels_are_log_normal():
    levels = draw_sigmas(torch.Generator().manual_seed(0), 20_000, 0.7, 1.6).log()
    assert levels.mean().item() == pytest.approx(0.7, abs=0.05)
    assert levels.std().item() == pytest.approx(1.6, abs=0.05)
