import copy

import numpy as np
import pytest
import torch

from model.conditioning import clip_pixels, image_embedding, reference_latent, time_ids, to_signed


def test_levels_become_signed():
    image = np.zeros((2, 4, 5, 3), np.uint8)
    image[..., 1] = 255
    signed = to_signed(image)
    assert signed.shape == (2, 3, 4, 5)
    assert signed.dtype == torch.float32
    assert signed[:, 0].unique().tolist() == [-1.0]
    assert signed[:, 1].unique().tolist() == [1.0]


@pytest.mark.parametrize(
    ("image", "pixels", "embedding"),
    [
        ("in.ref_image_u8", "mid.clip_pixel_values", "mid.image_embedding"),
        ("clip.big_image_u8", "clip.big_pixel_values", "clip.big_embedding"),
    ],
    ids=["enlarged", "reduced"],
)
def test_the_image_encoder_sees_what_the_released_one_sees(golden, networks, image, pixels, embedding):
    signed = to_signed(golden[image].numpy())
    torch.testing.assert_close(clip_pixels(signed), golden[pixels], rtol=0, atol=2e-4)
    with torch.no_grad():
        found = image_embedding(networks.image_encoder, signed)
    assert found.shape == (1, 1, 32)
    expected = golden[embedding].reshape(1, 1, 32)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-4 * expected.std().item())


@torch.no_grad()
def test_reference_latent_is_the_released_one(golden, networks):
    for image, latent in (("mid.noised_image", "mid.ref_latent"), ("vae.image", "vae.encoded_mode")):
        found = reference_latent(networks.vae, golden[image][0], upcast=False)
        torch.testing.assert_close(found, golden[latent][0], rtol=0, atol=5e-4 * golden[latent].std().item())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_upcast_encodes_in_float32_and_leaves_the_vae_as_it_was(golden, networks, dtype):
    vae = copy.deepcopy(networks.vae).to(dtype)
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    image = golden["vae.image"][0]
    upcast = reference_latent(vae, image, upcast=True)
    assert upcast.dtype == torch.float32
    for name, tensor in vae.state_dict().items():
        assert tensor.dtype == dtype, name
        assert torch.equal(tensor, before[name]), name
    half = reference_latent(vae, image, upcast=False)
    assert half.dtype == dtype
    assert not torch.equal(half.float(), upcast)
    torch.testing.assert_close(half.float(), upcast, rtol=0, atol=0.1 * upcast.std().item())
    # The same weights in float32 all along: not a bit may differ.
    whole = reference_latent(copy.deepcopy(vae).float(), image, upcast=False)
    torch.testing.assert_close(upcast, whole, rtol=0, atol=1e-6)


def test_upcast_leaves_the_vae_as_it_was_when_encoding_fails(networks):
    vae = copy.deepcopy(networks.vae).half()
    with pytest.raises(RuntimeError):
        reference_latent(vae, torch.zeros(5, 64, 64), upcast=True)
    assert {tensor.dtype for tensor in vae.state_dict().values()} == {torch.float16}


def test_time_ids_are_the_released_ones(golden):
    assert torch.equal(time_ids(7, 127, 0.02), golden["mid.added_time_ids"])
