"""Frame 0's latents after a step: PyTorch's bits, made without PyTorch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.euler import euler_step
from model.handover import to_array
from model.messages import Opening
from model.reference_latents import step_reference

SIGMAS = (700.0, 3.0999999046325684, 0.002, 0.0)


def by_torch(opening: Opening, step: int, reference: torch.Tensor, shares: list[torch.Tensor]) -> np.ndarray:
    velocity = torch.zeros_like(reference)
    for share in shares:
        velocity += share
    sigma, sigma_next = opening.sigmas[step : step + 2]
    return to_array(euler_step(reference.float(), velocity.float(), sigma, sigma_next).to(reference.dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2), st.integers(0, 5), st.floats(-6, 4), st.integers(0, 1000))
def test_bits_are_those_of_torch(dtype, step, windows, size, seed):
    generator = torch.Generator().manual_seed(seed)
    reference, *shares = (10**size * torch.randn(windows + 1, 4, 16, 9, generator=generator)).to(dtype)
    opening = Opening(SIGMAS, to_array(reference), str(dtype).removeprefix("torch."))
    found = step_reference(opening, step, to_array(reference), [to_array(share) for share in shares])
    wanted = by_torch(opening, step, reference, shares)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


def test_halves_between_two_are_rounded_to_the_even_one_and_what_is_no_number_stays_none():
    middle = torch.tensor([1.00390625, 1.01171875, -1.00390625, 3e38, torch.inf, -torch.inf, torch.nan, 1e-40])
    # A step that goes nowhere.
    opening = Opening((1.0, 1.0), middle.numpy(), "bfloat16")
    found = step_reference(opening, 0, middle.numpy(), [])
    np.testing.assert_array_equal(found, by_torch(opening, 0, middle.to(torch.bfloat16), []))
