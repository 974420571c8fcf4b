"""Windows apart, one after another in any order, against all of them in one loop: the same bits."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.euler import euler_step
from model.fuser import Fuser
from model.fusion import FusionPlan, step_plans
from model.handover import assemble, hand_over
from model.messages import Assembly, Opening, Part
from model.reference_latents import step_reference
from model.routes import routes
from model.sampler import karras_sigmas
from model.settings import STRATEGIES

SIGMAS = karras_sigmas(3)
CPU = torch.device("cpu")


def network(window: torch.Tensor, frames: Sequence[int]) -> torch.Tensor:
    """A prediction in which every frame depends on its place, its neighbours and the whole window."""
    place = torch.arange(len(frames), dtype=torch.float32).view(-1, 1, 1, 1)
    return (window.float() * 1e-3).tanh() + 0.1 * window.float().mean() * 1e-3 + 0.01 * place


def start(frames: int, dtype: torch.dtype) -> torch.Tensor:
    return (700 * torch.randn((frames, 4, 1, 1), generator=torch.Generator().manual_seed(frames))).to(dtype)


def in_one_loop(plans: Sequence[FusionPlan], dtype: torch.dtype) -> torch.Tensor:
    latents = start(plans[0].frames, dtype)
    for step, plan in enumerate(plans):
        fuser = Fuser(plan, latents, dtype)
        for index, members in enumerate(plan.windows):
            fuser.add(index, network(latents[list(members)], members))
        sigma, sigma_next = SIGMAS[step].item(), SIGMAS[step + 1].item()
        latents = euler_step(latents.float(), fuser.result().float(), sigma, sigma_next).to(dtype)
    return latents


def apart(plans: Sequence[FusionPlan], dtype: torch.dtype, order: random.Random | None = None) -> torch.Tensor:
    """Every window knows only what the parts bring it; the last step hands over to two halves of the video."""
    first = start(plans[0].frames, dtype)
    frames = plans[0].frames
    opening = Opening(tuple(SIGMAS.tolist()), first[0].float().numpy(), str(dtype).removeprefix("torch."))
    reference, parts = opening.reference, {}
    middle = max(frames // 2, 1)
    halves = [tuple(range(1, middle)), tuple(range(middle, frames))]
    consumers = [*(plan.windows for plan in plans), [half for half in halves if half]]
    incoming = [(), *(routes(plan, consumers[step + 1]) for step, plan in enumerate(plans))]
    for step, plan in enumerate(plans):
        shares, following = {}, {}
        numbers = list(range(len(plan.windows)))
        if order:
            order.shuffle(numbers)
        for window in numbers:
            members = plan.windows[window]
            coming = incoming[step][window] if step else ()
            assembly = Assembly(step, members, coming)
            if step == 0:
                others = first[list(members[1:])]
            else:
                others = assemble(assembly, [parts[route.source, window] for route in coming], SIGMAS, dtype, CPU)
            latents = torch.cat([torch.tensor(reference, dtype=dtype)[None], others])
            going = [
                (consumer, route)
                for consumer, taken in enumerate(incoming[step + 1])
                for route in taken
                if route.source == window
            ]
            shares[window], made = hand_over(
                assembly,
                latents,
                network(latents, members).to(dtype),
                float(plan.weights[window][0]),
                [route for _, route in going],
                SIGMAS,
            )
            for (consumer, _), part in zip(going, made, strict=True):
                following[window, consumer] = part
        reference = step_reference(opening, step, reference, [shares[index] for index in range(len(plan.windows))])
        parts = following
    found = [torch.tensor(reference, dtype=dtype)[None]]
    for consumer, taken in enumerate(incoming[-1]):
        assembly = Assembly(len(plans), consumers[-1][consumer], taken)
        found.append(assemble(assembly, [parts[route.source, consumer] for route in taken], SIGMAS, dtype, CPU))
    return torch.cat(found)


@pytest.mark.parametrize("fusion", STRATEGIES)
def test_windows_apart_give_the_bits_of_one_loop_at_every_length(fusion):
    for frames in (*range(2, 60), *range(60, 401, 17), 400):
        plans = step_plans(fusion, frames, 16, 6, 3)
        assert torch.equal(apart(plans, torch.float32), in_one_loop(plans, torch.float32)), f"{frames} frames"


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(STRATEGIES),
    st.integers(2, 90),
    st.integers(3, 20),
    st.data(),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    st.randoms(use_true_random=False),
)
def test_neither_the_order_of_the_answers_nor_the_numbers_matter(fusion, frames, window, data, dtype, order):
    plans = step_plans(fusion, frames, window, data.draw(st.integers(0, window - 2)), 3)
    assert torch.equal(apart(plans, dtype, order), in_one_loop(plans, dtype))


def test_parts_are_counted_in_bytes():
    row = np.zeros((1, 4, 2, 2), np.float32)
    assert Part(row, row, np.zeros((0, 4, 2, 2), np.float32)).nbytes == 2 * row.nbytes
