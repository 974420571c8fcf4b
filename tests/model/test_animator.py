import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from model import noise
from model.animator import Animator
from model.artifacts import ArtifactError
from model.conditioning import clip_pixels
from model.denoiser import Condition, denoise
from model.framing import CoverFit, fit_picture
from model.fusion import progressive, released
from model.guidance import draw_pose_sequence
from model.keypoints import NUM_KEYPOINTS, PoseSequence
from model.sampler import karras_sigmas
from model.scene import Scene, compose
from model.settings import AnimationSettings
from tests.small_networks import small_networks

TINY = AnimationSettings(
    resolution="64x64", window=8, overlap=2, steps=1, guidance="1", decode_chunk=4, decode_overlap=1
)


@pytest.fixture(scope="module")
def animator() -> Animator:
    return Animator(small_networks())


def picture(height: int = 64, width: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def poses(frames: int, seed: int = 1, width: int = 64, height: int = 64) -> PoseSequence:
    """Somebody as big as the frame, who moves a little in another way for every seed."""
    posture = np.random.default_rng(0).uniform(0.1, 0.9, (NUM_KEYPOINTS, 2))
    points = posture + np.random.default_rng(seed).normal(0, 0.03, (frames, NUM_KEYPOINTS, 2))
    return PoseSequence(
        (points * (width, height)).astype(np.float32),
        np.full((frames, NUM_KEYPOINTS), 0.9, np.float32),
        np.tile(np.array([0, 0, width, height], np.float32), (frames, 1)),
        np.ones(frames, np.float32),
        np.ones(frames, np.int32),
        width,
        height,
    )


def scene(frames: int, settings: AnimationSettings = TINY) -> Scene:
    return compose(picture(), poses(1), poses(frames, seed=2), settings)


def video(animator: Animator, frames: int, settings: AnimationSettings = TINY) -> np.ndarray:
    return np.stack(list(animator.animate(scene(frames, settings), settings)))


@pytest.mark.parametrize(
    ("frames", "style"),
    [(1, "default"), (1, "released"), (3, "default"), (7, "default"), (7, "released"), (8, "default"), (8, "released")],
)
def test_as_many_frames_come_out_as_there_are_poses(animator, frames, style):
    found = video(animator, frames, TINY.replace(style=style))
    assert found.shape == (frames, 64, 64, 3)
    assert found.dtype == np.uint8
    assert found.std() > 1


@pytest.mark.parametrize(("fusion", "overlap"), [("progressive", 0), ("released", 0), ("mean", 3), ("none", 3)])
def test_every_fusion_makes_every_frame(animator, fusion, overlap):
    found = video(animator, 10, TINY.replace(fusion=fusion, overlap=overlap))
    assert found.shape == (10, 64, 64, 3)
    assert (found.std(axis=(1, 2, 3)) > 1).all()


@pytest.mark.parametrize("guidance", ["1", "0.5", "0.5:3", "3:0.5", "2"])
def test_every_guidance_makes_every_frame(animator, guidance):
    found = video(animator, 2, TINY.replace(guidance=guidance))
    assert (found.std(axis=(1, 2, 3)) > 1).all()


def test_guidance_rises_along_the_video(animator):
    # One window, one step: a frame's guidance changes that frame's latent alone. Decoded one by one, so its picture.
    alone = TINY.replace(decode_chunk=1, decode_overlap=0)
    low, ramp = video(animator, 3, alone.replace(guidance="2")), video(animator, 3, alone.replace(guidance="2:5"))
    assert (np.diff([np.abs(a.astype(int) - b).mean() for a, b in zip(low, ramp, strict=True)]) > 0).all()


@pytest.mark.parametrize(("size", "shape"), [("80x100", (100, 80)), ("64x70", (70, 64)), ("16x16", (16, 16))])
@pytest.mark.parametrize("style", ["default", "released"])
def test_a_size_that_the_network_cannot_make_comes_out_all_the_same(animator, size, shape, style):
    settings = TINY.replace(resolution=size, style=style)
    assert video(animator, 2, settings).shape == (2, *shape, 3)


@pytest.mark.parametrize(("size", "shape"), [((900, 500), (192, 128)), ((500, 900), (128, 192))])
def test_an_upright_reference_makes_an_upright_video(size, shape):
    height, width = size
    made = compose(picture(height, width), poses(1, 1, width, height), poses(2), TINY.replace(resolution="128"))
    assert made.picture.shape == (*shape, 3)


def test_nobody_in_the_picture_is_animated_with_a_note(animator):
    made = compose(picture(), PoseSequence.empty(1, 64, 64), poses(2), TINY)
    assert made.note is not None
    assert "centred" in made.note
    assert len(list(animator.animate(made, TINY))) == 2
    assert scene(2).note is None


@pytest.mark.parametrize("missing", [[0, 3], [0, 1, 2, 3]])
def test_frames_without_the_person_are_frames_all_the_same(animator, missing):
    driving = poses(4)
    driving.scores[missing] = 0
    made = compose(picture(), poses(1), driving, TINY)
    assert len(list(animator.animate(made, TINY))) == 4
    drawn = [bool(image.any()) for image in made.guidance()]
    assert drawn == [frame not in missing for frame in range(4)]


def test_a_video_without_a_frame_is_refused():
    with pytest.raises(ValueError, match="no frame"):
        compose(picture(), poses(1), PoseSequence.empty(0, 64, 64), TINY)


def test_the_reference_pose_moves_with_the_picture_and_the_driving_poses_to_it():
    reference = poses(1, width=200, height=300)
    made = compose(picture(300, 200), reference, poses(3, width=640, height=480), TINY)
    fit = CoverFit.of(300, 200, 64, 64)
    assert (made.reference_pose.width, made.reference_pose.height) == (64, 64)
    assert (made.poses.width, made.poses.height) == (64, 64)
    np.testing.assert_allclose(made.reference_pose.keypoints, fit.points(reference.keypoints, 300, 200), rtol=1e-6)
    # The same posture in both: the person lies where the reference person does, by its mean.
    found, wanted = made.poses.keypoints[:, :17].mean((0, 1)), made.reference_pose.keypoints[:, :17].mean((0, 1))
    np.testing.assert_allclose(found, wanted, atol=6)


def test_guidance_images_are_the_drawn_poses():
    made = scene(2)
    for found, expected in zip(made.guidance(), draw_pose_sequence(made.poses, 64, 64, 240), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_released_style_composes_with_the_released_picture():
    image, settings = picture(200, 300), TINY.replace(style="released")
    for half in (False, True):
        made = compose(image, poses(1, width=300, height=200), poses(2), settings, half)
        np.testing.assert_array_equal(made.picture, fit_picture(image, settings.resolution, settings.style, half)[0])


@torch.no_grad()
def by_hand(animator: Animator, made: Scene, settings: AnimationSettings, low: float, high: float) -> np.ndarray:
    """The video of one composed of the parts, all that the two styles do differently in sight."""
    nets, frames, released_style = animator.networks, len(made.poses) + 1, settings.style == "released"
    if released_style:
        source = torch.Generator().manual_seed(settings.seed)
        image_noise = torch.randn((3, 64, 64), generator=source)
        tile = torch.randn((settings.window, 4, 8, 8), generator=source)
        latents = torch.stack([tile[frame % settings.window] for frame in range(frames)])
    else:
        image_noise = noise.reference_noise(settings.seed, (3, 64, 64))
        latents = noise.frame_noise(settings.seed, range(frames), (4, 8, 8))

    def signed(image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(image).permute(2, 0, 1).float() / 127.5 - 1

    image = signed(made.picture)
    canvas = 2160 if released_style else 240
    drawings = [
        image for each in (made.reference_pose, made.poses) for image in draw_pose_sequence(each, 64, 64, canvas)
    ]
    noised = image + settings.noise_aug_strength * image_noise
    condition = Condition(
        image_embedding=nets.image_encoder(clip_pixels(image)).image_embeds[:, None],
        reference_latent=nets.vae.encode(noised[None]).latent_dist.mode()[0],
        time_ids=torch.tensor([[settings.model_fps - 1, settings.motion_bucket_id, settings.noise_aug_strength]]),
        pose_features=torch.cat([nets.pose_net(signed(drawing)[None]) for drawing in drawings]),
        guidance=torch.linspace(low, high, frames),
        guided=max(low, high) > 1,
    )
    fuse = {"released": released, "progressive": progressive}[settings.fusion]
    plan = fuse(frames, settings.window, settings.overlap)
    sigmas = karras_sigmas(settings.steps, 0.002, 700.0)
    latents = denoise(nets.unet, latents * math.sqrt(700.0**2 + 1), sigmas, [plan] * settings.steps, condition.of)

    def decoded(part: torch.Tensor) -> torch.Tensor:
        return nets.vae.decode(part / 0.18215, num_frames=len(part)).sample

    if released_style:
        raw = torch.cat([decoded(part) for part in latents.split(settings.decode_chunk)])[1:]
        levels = ((raw / 2 + 0.5).clamp(0, 1) * 255).to(torch.uint8)
    else:
        raw = decoded(latents[1:])
        levels = ((raw / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).numpy()


def assert_same_video(found: np.ndarray, expected: np.ndarray) -> None:
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_released_style_is_the_released_composition(animator):
    settings = TINY.replace(
        style="released", fusion="released", steps=2, guidance="1:3", noise_aug_strength=0.02, model_fps=8
    )
    made = scene(12, settings)
    found = np.stack(list(animator.animate(made, settings)))
    assert_same_video(found, by_hand(animator, made, settings, 1, 3))


def test_default_style_is_the_mended_composition(animator):
    # One chunk: how chunks are blended is the decoder's own matter.
    settings = TINY.replace(steps=2, guidance="1:3", noise_aug_strength=0.02, decode_chunk=16, motion_bucket_id=90)
    made = scene(12, settings)
    found = np.stack(list(animator.animate(made, settings)))
    assert_same_video(found, by_hand(animator, made, settings, 1, 3))


def test_chunks_are_blended_in_the_default_style_alone(animator):
    for style, differ in (("default", True), ("released", False)):
        apart, blended = (video(animator, 5, TINY.replace(style=style, decode_overlap=overlap)) for overlap in (0, 2))
        assert (apart != blended).any() == differ


def test_one_seed_is_one_video_and_another_seed_another(animator):
    first, again, other = (video(animator, 3, TINY.replace(seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.1


def test_the_global_generator_does_not_matter(animator):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = video(animator, 2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    np.testing.assert_array_equal(video(animator, 2), first)


def test_progress_tells_of_every_step_and_every_frame(animator):
    events = []
    settings = TINY.replace(steps=2)
    list(animator.animate(scene(5), settings, lambda *event: events.append(event)))
    assert events == [("step", 1, 2), ("step", 2, 2), *(("frame", done, 5) for done in range(1, 6))]


@pytest.mark.parametrize("style", ["default", "released"])
def test_frames_are_decoded_when_they_are_asked_for(animator, monkeypatch, style):
    decoded, events = [], []
    decode = type(animator.networks.vae).decode

    def counted(self, latents, num_frames):
        decoded.append(num_frames)
        return decode(self, latents, num_frames)

    monkeypatch.setattr(type(animator.networks.vae), "decode", counted)
    frames = animator.animate(scene(9), TINY.replace(style=style), lambda *event: events.append(event))
    assert isinstance(frames, Iterator)
    assert events == []
    next(frames)
    assert decoded == [4]
    assert len(list(frames)) == 8
    assert sum(decoded) >= 9


@pytest.mark.parametrize(("dtype", "style"), [("float16", "default"), ("float16", "released"), ("bfloat16", "default")])
def test_half_precision_runs_on_the_cpu_and_stays_near(animator, monkeypatch, dtype, style):
    half, finite = Animator(small_networks(dtype)), []
    decode = type(half.networks.vae).decode

    def watched(self, latents, num_frames):
        decoded = decode(self, latents, num_frames)
        finite.append(bool(decoded.sample.isfinite().all()))
        return decoded

    settings = TINY.replace(style=style)
    expected = video(animator, 1, settings)
    monkeypatch.setattr(type(half.networks.vae), "decode", watched)
    found = video(half, 1, settings)
    assert finite
    assert all(finite)
    assert np.abs(found.astype(int) - expected).mean() < (4 if dtype == "float16" else 16)


@pytest.mark.parametrize(("style", "dtype"), [("default", torch.float32), ("released", torch.float16)])
def test_latents_are_kept_in_float32_and_in_the_released_style_as_the_network_has_them(monkeypatch, style, dtype):
    given = []

    def denoise_nothing(unet, latents, sigmas, plan, condition, **observers):
        given.append(latents)
        raise InterruptedError

    monkeypatch.setattr("model.animator.denoise", denoise_nothing)
    settings = TINY.replace(style=style)
    with pytest.raises(InterruptedError):
        next(Animator(small_networks("float16")).animate(scene(1, settings), settings))
    assert given[0].dtype == dtype


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_told(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"device is '{device}', but PyTorch sees no GPU"):
        Animator.load(device=device)


@pytest.mark.parametrize("device", ["tpu", "gpu", ""])
def test_a_device_that_does_not_exist_is_named(device):
    with pytest.raises(ValueError, match=f"device is '{device}'"):
        Animator.load(device=device)


def test_a_choice_that_cannot_be_is_named():
    with pytest.raises(ValueError, match="dtype is 'float8', expected one of"):
        Animator.load(dtype="float8")
    with pytest.raises(ValueError, match="attention is 'flash', expected one of"):
        Animator.load(attention="flash")


def test_a_model_needs_a_checkpoint(golden):
    with pytest.raises(ValueError, match="needs a MimicMotion checkpoint"):
        Animator.load(str(golden.folder / "base"))
    with pytest.raises(ArtifactError, match="no such file"):
        Animator.load(str(golden.folder / "base"), "/nowhere/x.pth")


def test_a_checkpoint_needs_a_model():
    with pytest.raises(ValueError, match=r"checkpoint x\.pth belongs to an SVD folder"):
        Animator.load(checkpoint="x.pth")


def test_a_released_model_is_loaded_and_animates(golden):
    animator = Animator.load(str(golden.folder / "base"), str(golden.folder / "MimicMotion_tiny.pth"))
    assert animator.networks.digest == golden.files.digest()
    assert video(animator, 2).shape == (2, 64, 64, 3)
