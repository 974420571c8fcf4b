import weakref
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.decoded import join, to_levels
from model.decoder import decode, to_uint8
from model.windows import chunks


class FakeVae:
    """A decoder of 2x2 pixels a frame that computes what it is told from the latents and the number of the call."""

    device = torch.device("cpu")
    dtype = torch.float32
    config = SimpleNamespace(scaling_factor=0.5)

    def __init__(self, frames_of: Callable[[torch.Tensor, int], torch.Tensor]) -> None:
        self.frames_of = frames_of
        self.given: list[torch.Tensor] = []
        self.alive: list[weakref.ref] = []
        self.most_alive = 0

    def decode(self, latents: torch.Tensor, num_frames: int) -> SimpleNamespace:
        assert len(latents) == num_frames
        self.given.append(latents)
        values = self.frames_of(latents, len(self.given) - 1).reshape(-1, 1, 1, 1)
        # Memory of its own, whose life can be watched.
        pixels = np.broadcast_to(values.numpy(), (num_frames, 3, 2, 2)).copy()
        self.alive.append(weakref.ref(pixels))
        self.most_alive = max(self.most_alive, sum(held() is not None for held in self.alive))
        return SimpleNamespace(sample=torch.from_numpy(pixels).to(self.dtype))


def numbered(latents: torch.Tensor, call: int) -> torch.Tensor:
    """Every frame of a chunk has the chunk's number."""
    return torch.full((len(latents),), float(call))


def temporal(latents: torch.Tensor, call: int) -> torch.Tensor:
    """A frame, and something of all frames of its chunk."""
    each = latents.mean(dim=(1, 2, 3))
    return each + each.mean()


def values(frames: list[torch.Tensor]) -> list[float]:
    for frame in frames:
        assert frame.shape == (3, 2, 2)
        assert frame.unique().numel() == 1
    return [frame[0, 0, 0].item() for frame in frames]


@st.composite
def numbers(draw) -> tuple[int, int, int]:
    chunk = draw(st.integers(1, 20))
    return draw(st.integers(1, 100)), chunk, draw(st.integers(0, chunk - 1))


@settings(max_examples=200, deadline=None)
@given(numbers())
def test_chunks_cover_every_frame_and_neighbours_share_the_overlap(numbers):
    frames, chunk, overlap = numbers
    spans = chunks(frames, chunk, overlap)
    assert {frame for start, stop in spans for frame in range(start, stop)} == set(range(frames))
    assert all(0 < stop - start <= chunk for start, stop in spans)
    assert all(stop - start == chunk for start, stop in spans[:-1])
    assert [spans[i][1] - spans[i + 1][0] for i in range(len(spans) - 1)] == [overlap] * (len(spans) - 1)


def test_no_chunk_holds_shared_frames_alone():
    assert chunks(8, 8, 2) == [(0, 8)]
    assert chunks(14, 8, 2) == [(0, 8), (6, 14)]
    assert chunks(2, 8, 7) == [(0, 2)]


def test_chunks_without_overlap_are_the_released_ones():
    assert chunks(20, 8, 0) == [(0, 8), (8, 16), (16, 20)]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 8, 2), "frames is 0"),
        ((9, 8, 8), "decode overlap is 8, expected 0 to 7"),
        ((9, 8, -1), "decode overlap is -1"),
        ((9, 1, 1), "decode overlap is 1, expected 0 to 0"),
    ],
)
def test_numbers_that_cannot_work_are_named(numbers, message):
    with pytest.raises(ValueError, match=message):
        chunks(*numbers)


def test_the_later_chunk_comes_in_evenly():
    frames = list(decode(FakeVae(numbered), torch.zeros(6, 4, 1, 1), chunk=4, overlap=2))
    np.testing.assert_allclose(values(frames), [0, 0, 1 / 3, 2 / 3, 1, 1], atol=1e-6)


def test_three_chunks_that_meet_come_in_one_after_another():
    frames = list(decode(FakeVae(numbered), torch.zeros(6, 4, 1, 1), chunk=4, overlap=3))
    # Chunks 0..3, 1..4 and 2..5; chunk 1 enters by 1/4, 1/2, 3/4, then chunk 2 by the same.
    mixed = [0, 0.25, 0.5 * 0.75 + 2 * 0.25, 0.75 * 0.5 + 2 * 0.5, 0.25 + 2 * 0.75, 2]
    np.testing.assert_allclose(values(frames), mixed, atol=1e-6)


def test_without_overlap_every_chunk_is_decoded_on_its_own_as_released():
    latents = torch.randn(11, 4, 1, 1, generator=torch.Generator().manual_seed(0))
    found = values(list(decode(FakeVae(temporal), latents, chunk=4, overlap=0)))
    expected = torch.cat([temporal(part / 0.5, 0) for part in latents.split(4)])
    np.testing.assert_allclose(found, expected, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(numbers())
def test_what_all_chunks_agree_on_is_not_changed(numbers):
    frames, chunk, overlap = numbers
    video = torch.arange(frames).view(-1, 1, 1, 1).expand(-1, 4, 1, 1).float()
    vae = FakeVae(lambda latents, _call: latents[:, 0, 0, 0])
    found = values(list(decode(vae, video, chunk, overlap)))
    np.testing.assert_allclose(found, np.arange(frames) * 2.0, rtol=1e-5, atol=1e-5)


@settings(max_examples=100, deadline=None)
@given(numbers(), st.integers(0, 2**32 - 1), st.booleans())
def test_arrays_of_numpy_are_joined_to_the_levels_of_those_of_pytorch(numbers, seed, truncate):
    spans, source = chunks(*numbers), np.random.default_rng(seed)
    decoded = [source.normal(0, 1.2, (stop - start, 3, 2, 2)).astype(np.float32) for start, stop in spans]
    tensors = join((list(torch.from_numpy(frames)) for frames in decoded), spans)
    arrays = join((list(frames) for frames in decoded), spans)
    for tensor, array in zip(tensors, arrays, strict=True):
        levels = to_levels(array, truncate)
        assert levels.dtype == np.float32
        np.testing.assert_array_equal(levels, to_levels(tensor, truncate).numpy())


def test_latents_are_divided_by_the_scaling_factor():
    vae = FakeVae(numbered)
    list(decode(vae, torch.ones(3, 4, 1, 1), chunk=8))
    assert torch.equal(vae.given[0], torch.full((3, 4, 1, 1), 2.0))


@pytest.mark.parametrize("overlap", [0, 2, 5])
def test_no_more_than_two_chunks_are_held(overlap):
    vae = FakeVae(temporal)
    for frame in decode(vae, torch.zeros(60, 4, 1, 1), chunk=6, overlap=overlap):
        assert frame is not None
    assert len(vae.given) >= 10
    assert vae.most_alive <= 2


def test_a_chunk_is_decoded_when_its_frames_are_asked_for():
    vae = FakeVae(numbered)
    frames = decode(vae, torch.zeros(20, 4, 1, 1), chunk=6, overlap=2)
    assert len(vae.given) == 0
    for _ in range(4):
        next(frames)
    assert len(vae.given) == 1
    next(frames)
    assert len(vae.given) == 2


@pytest.mark.parametrize(("chunk", "name"), [(3, "vae.decoded"), (1, "vae.decoded_one_by_one")])
def test_the_decoder_is_the_released_one(golden, networks, chunk, name):
    latents = golden["vae.latent"] * networks.vae.config.scaling_factor
    found = torch.stack(list(decode(networks.vae, latents, chunk)))
    torch.testing.assert_close(found, golden[name], rtol=0, atol=5e-4 * golden[name].std().item())


def test_frames_come_in_float32_from_a_decoder_in_half_precision():
    vae = FakeVae(numbered)
    vae.dtype = torch.float16
    (frame,) = decode(vae, torch.zeros(1, 4, 1, 1))
    assert vae.given[0].dtype == torch.float16
    assert frame.dtype == torch.float32


def test_frames_become_levels_rounded_or_truncated():
    frame = torch.tensor([-2.0, -1.0, 0.0, 0.999, 1.0, 3.0]).view(1, 1, 6).expand(3, 1, 6)
    rounded, truncated = to_uint8(frame), to_uint8(frame, truncate=True)
    assert rounded.shape == (1, 6, 3)
    assert rounded.dtype == np.uint8
    assert rounded[0, :, 0].tolist() == [0, 0, 128, 255, 255, 255]
    assert truncated[0, :, 0].tolist() == [0, 0, 127, 254, 255, 255]


def test_levels_are_those_of_the_released_video(golden):
    found = np.stack([to_uint8(frame, truncate=True) for frame in golden["out.decoded_raw"][1:]])
    np.testing.assert_array_equal(found, golden["out.video_u8"])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_is_an_error_and_no_black_frame(bad):
    vae = FakeVae(lambda latents, _: torch.where(torch.arange(len(latents)) == 1, bad, 0.0))
    with pytest.raises(FloatingPointError, match=r"not finite, in float32; choose dtype bfloat16 or float32"):
        list(decode(vae, torch.zeros(3, 4, 1, 1)))  # type: ignore[arg-type]
