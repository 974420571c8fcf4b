import math

import pytest
import torch
from diffusers import EulerDiscreteScheduler

from model.euler import euler_step
from model.fuser import Fuser
from model.fusion import progressive
from model.sampler import guidance_ramp, guide, initial_scale, input_scale, karras_sigmas, timestep
from model.weight_files import read_config


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_schedule_is_the_released_one_at_every_step_count(golden):
    tables = golden.tables["scheduler"]
    assert len(tables) == 8
    for steps, table in tables.items():
        sigmas = karras_sigmas(int(steps))
        assert sigmas.dtype == torch.float32
        torch.testing.assert_close(sigmas, torch.tensor(table["sigmas"]), rtol=1e-6, atol=0)
        times = torch.tensor([timestep(sigma) for sigma in sigmas[:-1].tolist()])
        torch.testing.assert_close(times, torch.tensor(table["timesteps"]), rtol=0, atol=1e-6)
        assert math.isclose(initial_scale(700.0), table["init_noise_sigma"], rel_tol=1e-6)


def test_schedule_keeps_to_other_bounds():
    sigmas = karras_sigmas(3, sigma_min=0.1, sigma_max=9.0, rho=2.0)
    torch.testing.assert_close(sigmas, torch.tensor([9.0, ((3 + 0.1**0.5) / 2) ** 2, 0.1, 0.0]))


def test_fewer_than_one_step_is_refused():
    with pytest.raises(ValueError, match="steps is 0"):
        karras_sigmas(0)


@pytest.mark.parametrize("steps", [1, 5, 25])
def test_steps_are_those_of_the_euler_scheduler_of_diffusers(golden, steps):
    scheduler = EulerDiscreteScheduler.from_config(read_config(golden.files.scheduler_config))
    scheduler.set_timesteps(steps)
    sigmas = karras_sigmas(steps).tolist()
    assert math.isclose(initial_scale(700.0), float(scheduler.init_noise_sigma), rel_tol=1e-6)
    latents = theirs = noise(0, 4, 2, 3, 5) * initial_scale(700.0)
    for step, time in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(theirs, time)
        torch.testing.assert_close(latents * input_scale(sigmas[step]), scaled, rtol=1e-5, atol=1e-5)
        velocity = noise(step + 1, 4, 2, 3, 5)
        theirs = scheduler.step(velocity, time, theirs).prev_sample
        latents = euler_step(latents, velocity, sigmas[step], sigmas[step + 1])
        torch.testing.assert_close(latents, theirs, rtol=1e-4, atol=1e-4)


def test_a_true_velocity_leads_straight_to_the_picture():
    # v = (n - s x) / sqrt(s^2 + 1) for z = x + s n: the step to 0 then gives x.
    picture, sigma = noise(0, 2, 4), 3.0
    latents = picture + sigma * noise(1, 2, 4)
    velocity = (noise(1, 2, 4) - sigma * picture) / math.sqrt(sigma**2 + 1)
    torch.testing.assert_close(euler_step(latents, velocity, sigma, 0.0), picture, rtol=1e-5, atol=1e-5)


def test_step_commutes_with_fusion():
    plan = progressive(20, 8, 3)
    latents = noise(0, 20, 4, 2, 2).double()
    velocity_first, step_first = (Fuser(plan, latents, torch.float64) for _ in range(2))
    for index, members in enumerate(plan.windows):
        velocity = noise(index + 1, len(members), 4, 2, 2).double()
        velocity_first.add(index, velocity)
        step_first.add(index, euler_step(latents[list(members)], velocity, 7.0, 3.0))
    stepped = euler_step(latents, velocity_first.result(), 7.0, 3.0)
    torch.testing.assert_close(stepped, step_first.result(), rtol=0, atol=1e-10)


def test_guidance_of_one_is_conditional_of_zero_unconditional_and_of_three_beyond():
    unconditional, conditional = noise(0, 3, 4, 2, 2), noise(1, 3, 4, 2, 2)
    guided = guide(unconditional, conditional, torch.tensor([1.0, 0.0, 3.0]))
    torch.testing.assert_close(guided[0], conditional[0])
    assert torch.equal(guided[1], unconditional[1])
    torch.testing.assert_close(guided[2], 3 * conditional[2] - 2 * unconditional[2])


def test_guidance_rises_evenly_along_the_video(golden):
    torch.testing.assert_close(guidance_ramp(1.0, 3.0, 20), golden["mid.guidance_per_frame"])
    assert guidance_ramp(2.0, 2.0, 3).tolist() == [2.0, 2.0, 2.0]
    assert guidance_ramp(3.0, 0.5, 6).tolist() == [3.0, 2.5, 2.0, 1.5, 1.0, 0.5]
