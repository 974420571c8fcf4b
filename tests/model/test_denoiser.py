import math
from types import SimpleNamespace

import pytest
import torch

from model.denoiser import Condition, denoise, guided, predict_window
from model.euler import euler_step
from model.fuser import Fuser
from model.fusion import progressive, released
from model.sampler import guide, karras_sigmas

FRAMES = 11


class RecordingUNet:
    """A stand-in of the UNet's signature: a fixed mixture of all that it is told, and a list of what that was."""

    dtype = torch.float32

    def __init__(self) -> None:
        self.calls: list[SimpleNamespace] = []

    def __call__(self, sample, time, embedding, ids, pose_features, return_dict):
        assert return_dict is False
        self.calls.append(SimpleNamespace(sample=sample, time=time, embedding=embedding, ids=ids, pose=pose_features))
        velocity = 0.3 * sample[:, :, :4] + 0.2 * sample[:, :, 4:] + embedding.mean() + 0.01 * time
        # Like the network's temporal layers: every frame sees its window.
        velocity = velocity + 0.1 * sample[:, :, :4].mean(dim=1, keepdim=True)
        if pose_features is not None:
            velocity = velocity + 0.05 * pose_features.mean(dim=1, keepdim=True)[None]
        return (velocity,)


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def condition(low: float, high: float) -> Condition:
    return Condition(
        image_embedding=noise(1, 1, 1, 6),
        reference_latent=noise(2, 4, 3, 2),
        time_ids=torch.tensor([[6.0, 127.0, 0.0]]),
        pose_features=noise(3, FRAMES, 5, 3, 2),
        guidance=torch.linspace(low, high, FRAMES),
        guided=max(low, high) > 1,
    )


def test_unconditional_pass_sees_neither_embedding_nor_reference_nor_pose():
    unet, given, latents, frames = RecordingUNet(), condition(2, 2), noise(4, 3, 4, 3, 2), (0, 5, 6)
    unconditional, conditional = predict_window(unet, latents, 3.0, given.of(frames))
    without, with_all = unet.calls
    for call in unet.calls:
        assert torch.equal(call.time, torch.tensor([0.25 * math.log(3.0)]))
        torch.testing.assert_close(call.sample[0, :, :4], latents / math.sqrt(10.0))
        assert torch.equal(call.ids, given.time_ids)
    assert without.pose is None
    assert not without.embedding.any()
    assert not without.sample[0, :, 4:].any()
    assert torch.equal(with_all.pose, given.pose_features[[0, 5, 6]])
    assert torch.equal(with_all.embedding, given.image_embedding)
    assert torch.equal(with_all.sample[0, :, 4:], given.reference_latent.expand(3, 4, 3, 2))
    assert unconditional.shape == conditional.shape == latents.shape


@pytest.mark.parametrize(("low", "high", "passes"), [(1, 1, 1), (2, 2, 2), (1, 3, 2), (3, 1, 2), (0.5, 3, 2)])
def test_unconditional_pass_is_made_wherever_guidance_asks_for_it(low, high, passes):
    unet = RecordingUNet()
    unconditional, _ = predict_window(unet, noise(4, 3, 4, 3, 2), 3.0, condition(low, high).of((0, 1, 2)))
    assert len(unet.calls) == passes
    assert (unconditional is None) == (passes == 1)


def test_a_window_is_guided_by_the_scale_of_its_own_frames():
    scale = torch.linspace(1, 3, FRAMES)
    unconditional, conditional = noise(1, 3, 4, 3, 2), noise(2, 3, 4, 3, 2)
    found = guided(unconditional, conditional, scale[[0, 5, 10]])
    for position, expected in enumerate([1.0, 2.0, 3.0]):
        torch.testing.assert_close(
            found[position],
            unconditional[position] + expected * (conditional[position] - unconditional[position]),
        )


def test_without_an_unconditional_pass_the_conditional_one_is_taken():
    conditional = noise(2, 3, 4, 3, 2).half()
    found = guided(None, conditional, torch.ones(3))
    assert found.dtype == torch.float32
    assert torch.equal(found, conditional.float())


def test_guiding_every_window_equals_the_released_order_of_fusing_and_then_guiding():
    plan, scale = released(FRAMES, 5, 2), torch.linspace(1, 3, FRAMES)
    like = torch.zeros(FRAMES, 4, 3, 2)
    guided_first, unconditional, conditional = (Fuser(plan, like, torch.float32) for _ in range(3))
    for index, frames in enumerate(plan.windows):
        u, c = noise(index, len(frames), 4, 3, 2), noise(100 + index, len(frames), 4, 3, 2)
        guided_first.add(index, guided(u, c, scale[list(frames)]))
        unconditional.add(index, u)
        conditional.add(index, c)
    expected = guide(unconditional.result(), conditional.result(), scale)
    torch.testing.assert_close(guided_first.result(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strategy", [progressive, released])
def test_denoising_fuses_all_windows_at_every_step(strategy):
    plan, given = strategy(FRAMES, 5, 2), condition(1, 3)
    assert len(plan.windows) > 2
    sigmas, start = karras_sigmas(3), 700 * noise(5, FRAMES, 4, 3, 2)
    found = denoise(RecordingUNet(), start, sigmas, [plan] * 3, given.of)

    latents = start
    for sigma, sigma_next in [(sigmas[i].item(), sigmas[i + 1].item()) for i in range(3)]:
        velocity = torch.zeros_like(latents)
        for members, weights in zip(plan.windows, plan.weights, strict=True):
            frames = list(members)
            u, c = predict_window(RecordingUNet(), latents[frames], sigma, given.of(frames))
            for k, frame in enumerate(frames):
                velocity[frame] += float(weights[k]) * (u[k] + given.guidance[frame] * (c[k] - u[k]))
        latents = euler_step(latents, velocity, sigma, sigma_next)
    torch.testing.assert_close(found, latents, rtol=1e-4, atol=1e-4)


def test_observers_see_every_window_and_every_step_in_order():
    plan, events, kept = released(FRAMES, 5, 2), [], []

    def on_step(step: int, latents: torch.Tensor) -> None:
        events.append(("step", step))
        kept.append(latents)

    final = denoise(
        RecordingUNet(),
        noise(5, FRAMES, 4, 3, 2),
        karras_sigmas(2),
        [plan] * 2,
        condition(2, 2).of,
        on_step=on_step,
        on_window=lambda step, window, unconditional, conditional: events.append((step, window)),
    )
    windows = range(len(plan.windows))
    assert events == [*((0, w) for w in windows), ("step", 0), *((1, w) for w in windows), ("step", 1)]
    assert torch.equal(kept[-1], final)
    assert not torch.equal(kept[0], final)


def test_latents_keep_their_precision_while_the_step_is_taken_in_float32():
    plan, given, sigmas = released(FRAMES, FRAMES, 2), condition(1, 1), karras_sigmas(2)
    start = (700 * noise(5, FRAMES, 4, 3, 2)).half()
    after = []
    denoise(RecordingUNet(), start, sigmas, [plan] * 2, given.of, on_step=lambda _step, latents: after.append(latents))
    _, velocity = predict_window(RecordingUNet(), start, 700.0, given)
    expected = euler_step(start.float(), velocity.half().float(), 700.0, sigmas[1].item()).half()
    assert after[0].dtype == torch.float16
    assert torch.equal(after[0], expected)
