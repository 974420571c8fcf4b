"""Frame 0's latents after a step: PyTorch's bits, made without PyTorch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.euler import euler_step
from model.messages import Opening
from model.reference_latents import step_reference

SIGMAS = (700.0, 3.0999999046325684, 0.002, 0.0)


def by_torch(dtype: torch.dtype, step: int, reference: torch.Tensor, shares: list[torch.Tensor]) -> torch.Tensor:
    velocity = torch.zeros_like(reference)
    for share in shares:
        velocity += share
    return euler_step(reference.float(), velocity.float(), SIGMAS[step], SIGMAS[step + 1]).to(dtype)


def travelled(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2), st.integers(0, 5), st.floats(-6, 4), st.integers(0, 1000))
def test_bits_are_those_of_torch(dtype, step, windows, size, seed):
    generator = torch.Generator().manual_seed(seed)
    reference, *shares = (10**size * torch.randn(windows + 1, 4, 16, 9, generator=generator)).to(dtype)
    opening = Opening(SIGMAS, travelled(reference), str(dtype).removeprefix("torch."))
    found = step_reference(opening, step, travelled(reference), [travelled(share) for share in shares])
    wanted = travelled(by_torch(dtype, step, reference, shares))
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


def test_halves_between_two_are_rounded_to_the_even_one_and_what_is_no_number_stays_none():
    middle = torch.tensor([1.00390625, 1.01171875, -1.00390625, 3e38, torch.inf, -torch.inf, torch.nan, 1e-40])
    opening = Opening((1.0, 1.0), middle.numpy(), "bfloat16")
    found = step_reference(opening, 0, middle.numpy(), [])
    np.testing.assert_array_equal(found, by_torch_unmoved(middle))


def by_torch_unmoved(values: torch.Tensor) -> np.ndarray:
    """What rounding leaves where a step goes nowhere: (x - x0) / s * 0, which for infinity is no number."""
    latents = values.to(torch.bfloat16)
    return euler_step(latents.float(), torch.zeros_like(latents).float(), 1.0, 1.0).to(torch.bfloat16).float().numpy()
