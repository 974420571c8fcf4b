import torch

from model.noise import frame_noise, generator, reference_noise, released_noise, tile_noise

SHAPE = (4, 6, 5)


def test_noise_depends_on_seed_purpose_and_index_alone():
    alone = torch.randn(3, generator=generator(7, "latents", 2))
    for seed, purpose, index in [(7, "latents", 1), (8, "latents", 2), (7, "reference", 2), (7, "latents", 2)]:
        torch.randn(100, generator=generator(seed, purpose, index))
    assert torch.equal(torch.randn(3, generator=generator(7, "latents", 2)), alone)


def test_every_seed_purpose_and_index_has_a_stream_of_its_own():
    seeds = {
        generator(seed, purpose, index).initial_seed()
        for seed in (0, 1, 11, 2**63 - 1)
        for purpose in ("latents", "reference")
        for index in range(50)
    }
    assert len(seeds) == 4 * 2 * 50


def test_streams_are_the_same_in_every_version_of_this_project():
    assert generator(42, "latents", 3).initial_seed() == 4972675191586569173
    assert generator(42, "reference").initial_seed() == 2566215547138221747


def test_a_frame_has_the_same_noise_in_a_video_of_any_length():
    long = frame_noise(42, range(30), SHAPE)
    for frames in (1, 7, 29):
        assert torch.equal(frame_noise(42, range(frames), SHAPE), long[:frames])


def test_no_two_frames_have_the_same_noise():
    noise = frame_noise(42, range(30), SHAPE).flatten(1)
    assert noise.dtype == torch.float32
    assert torch.corrcoef(noise).fill_diagonal_(0).abs().max() < 0.5


def test_another_seed_gives_other_noise():
    assert not torch.equal(frame_noise(1, range(2), SHAPE), frame_noise(2, range(2), SHAPE))
    assert not torch.equal(reference_noise(1, (3, 4, 4)), reference_noise(2, (3, 4, 4)))


def test_noise_is_standard_normal():
    for noise in (frame_noise(3, range(40), (4, 16, 16)), reference_noise(3, (3, 128, 128))):
        assert abs(noise.mean().item()) < 0.02
        assert abs(noise.std().item() - 1) < 0.02


def test_released_noise_is_the_released_draw(golden):
    image, latents = released_noise(42, 8, (3, 128, 64), (4, 16, 8))
    assert torch.equal(image, golden["in.aug_noise"][0])
    assert torch.equal(latents[:8], golden["in.init_noise"][0])
    assert torch.equal(
        tile_noise(latents, range(20)) * golden["mid.init_noise_sigma"], golden["mid.initial_latents"][0]
    )


def test_released_noise_repeats_a_window_and_is_cut():
    tile = torch.arange(3.0).view(3, 1, 1, 1)
    assert tile_noise(tile, range(8)).flatten().tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert tile_noise(tile, range(2)).flatten().tolist() == [0, 1]


def test_the_global_generator_is_neither_used_nor_moved():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = frame_noise(1, range(2), SHAPE), reference_noise(1, (3, 4, 4)), *released_noise(1, 2, (3, 4, 4), SHAPE)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    again = frame_noise(1, range(2), SHAPE), reference_noise(1, (3, 4, 4)), *released_noise(1, 2, (3, 4, 4), SHAPE)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
