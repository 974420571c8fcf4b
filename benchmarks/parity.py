"""Recompute a folder of golden data of the released system, array by array, and say how far off each is.

    python benchmarks/parity.py DIR [--device cuda]

Exit code 1 if an array is outside its tolerance. On a GPU a second table shows what float16 and bfloat16 cost.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from model.alignment import FITTED, fit_alignment
from model.animator import Animator
from model.checkpoint import load_networks
from model.conditioning import (
    clip_pixels,
    image_embedding,
    reference_latent,
    time_ids,
    to_signed,
)
from model.decoder import decode, to_uint8
from model.denoiser import Condition, denoise
from model.estimators.dwpose_codec import (
    decode_keypoints,
    decode_people,
    letterbox,
    pose_input,
    pose_region,
    whole_frame,
)
from model.fuser import Fuser
from model.fusion import released, triangle
from model.guidance import draw_guidance
from model.noise import released_noise, tile_noise
from model.openpose import drawn_people, from_released, to_openpose
from model.sampler import guidance_ramp, initial_scale, karras_sigmas, timestep
from model.weight_files import fetch_weights
from pipeline.report import table

ROUNDING = 5e-4
"""Float32 rounding through networks of this depth: what the golden README allows for latents and decoded frames."""

PREDICTION_ROUNDING = 2e-3
"""Predictions amplify the rounding of the latents that they are made from; the least mistake is 20 times larger."""


@dataclass(frozen=True)
class Check:
    """One array: its largest error and what is allowed; ``unit`` says of what."""

    name: str
    error: float
    tolerance: float
    unit: str

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance


class Golden:
    """A folder of golden data: its parameters, arrays and networks."""

    def __init__(self, folder: Path, device: str, dtype: str) -> None:
        self.facts: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
        self.arrays = load_file(folder / "arrays.safetensors", device=device)
        (checkpoint,) = [*folder.glob("*.pth"), *folder.glob("MimicMotion*.safetensors")]
        files = fetch_weights(str(folder / "base"), str(checkpoint))
        # The animator chooses the attention, so what is measured is what runs.
        self.networks = Animator(load_networks(files, device, dtype)).networks
        self.device = device

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.arrays[name]

    def exact(self, name: str, found: torch.Tensor) -> Check:
        """Copied, counted or drawn: has to be equal."""
        return Check(name, _error(found, self[name]), 0.0, "abs")

    def close(self, name: str, found: torch.Tensor, tolerance: float = ROUNDING) -> Check:
        """Computed: within rounding, in units of the array's own deviation (or size, for a lone number)."""
        expected = self[name].double()
        scale = expected.std().item() if expected.numel() > 1 else expected.abs().item()
        return Check(name, _error(found, expected) / (scale or 1.0), tolerance, "of std")


def _error(found: torch.Tensor, expected: torch.Tensor) -> float:
    difference = (found.to(expected.device).double().reshape(expected.shape) - expected.double()).abs()
    return float("inf") if difference.isnan().any() else difference.max().item()


@torch.no_grad()
def pipeline_checks(golden: Golden) -> Iterator[Check]:
    """The run of the released pipeline: inputs to frames, every intermediate on the way."""
    facts, networks, device = golden.facts, golden.networks, golden.device
    frames, window, steps = facts["num_frames"], facts["tile_size"], facts["num_inference_steps"]
    height, width, augmentation = facts["height"], facts["width"], facts["noise_aug_strength"]
    latent_shape = networks.grid.shape(height, width)

    image_noise, tile = released_noise(facts["seed"], window, (3, height, width), latent_shape)
    yield golden.exact("in.aug_noise", image_noise)
    expected_noise = tile_noise(golden["in.init_noise"][0], range(frames))
    yield Check("in.init_noise", _error(tile_noise(tile, range(frames)), expected_noise), 0.0, "abs")

    image = to_signed(golden["in.ref_image_u8"].cpu().numpy()).to(device)
    yield golden.close("mid.clip_pixel_values", clip_pixels(image))
    embedding = image_embedding(networks.image_encoder, image)
    yield golden.close("mid.image_embedding", embedding)
    noised = image + augmentation * image_noise.to(device)
    yield golden.close("mid.noised_image", noised)
    latent = reference_latent(networks.vae, noised, upcast=False)
    yield golden.close("mid.ref_latent", latent)
    ids = time_ids(facts["fps"], facts["motion_bucket_id"], augmentation).to(device)
    yield golden.close("mid.added_time_ids", ids)

    sigmas = karras_sigmas(steps, networks.sigma_min, networks.sigma_max)
    yield golden.close("mid.sigmas", sigmas, 1e-6)
    yield golden.close("mid.timesteps", torch.tensor([timestep(sigma) for sigma in sigmas[:-1].tolist()]), 1e-6)
    yield golden.close("mid.init_noise_sigma", torch.tensor(initial_scale(networks.sigma_max)), 1e-6)
    guidance = guidance_ramp(facts["min_guidance_scale"], facts["max_guidance_scale"], frames).to(device)
    yield golden.close("mid.guidance_per_frame", guidance, 1e-6)

    plan = released(frames, window, facts["tile_overlap"])
    yield golden.exact("mid.windows", torch.tensor(plan.windows))
    weight = torch.from_numpy(triangle(window))
    yield golden.close("mid.window_weight", weight, 1e-5)
    total = torch.zeros(frames, dtype=torch.float64)
    for members in plan.windows:
        total[list(members)] += weight
    yield golden.close("mid.weight_sum", total, 1e-5)
    start = tile_noise(golden["in.init_noise"][0].cpu(), range(frames)) * initial_scale(networks.sigma_max)
    yield golden.close("mid.initial_latents", start, 1e-6)
    poses = golden["in.pose_images_u8"].float() / 127.5 - 1
    features = networks.pose_net(poses.to(networks.dtype))
    yield golden.close("mid.pose_features", features)

    condition = Condition(embedding, latent.to(networks.dtype), ids, features, guidance, bool((guidance > 1).any()))
    start = start.to(device)
    fused = {name: [Fuser(plan, start, torch.float32) for _ in range(steps)] for name in ("uncond", "cond")}
    kept = []

    def on_window(step: int, index: int, unconditional: torch.Tensor | None, conditional: torch.Tensor) -> None:
        fused["cond"][step].add(index, conditional)
        if unconditional is not None:
            fused["uncond"][step].add(index, unconditional)

    final = denoise(
        networks.unet,
        start,
        sigmas,
        [plan] * steps,
        condition.of,
        on_window=on_window,
        on_step=lambda _step, latents: kept.append(latents),
    )
    for name, runs in (
        ("out.v_uncond", [fuser.result() for fuser in fused["uncond"]]),
        ("out.v_cond", [fuser.result() for fuser in fused["cond"]]),
        ("out.latents", kept),
    ):
        worst = max(
            _error(found, expected) / (expected.std().item() or 1.0)
            for found, expected in zip(runs, golden[name], strict=True)
        )
        yield Check(name, worst, ROUNDING if name == "out.latents" else PREDICTION_ROUNDING, "of std")

    raw = torch.stack(list(decode(networks.vae, final, facts["decode_chunk_size"], overlap=0)))
    yield Check("out.decoded_raw", _error(raw, golden["out.decoded_raw"]), ROUNDING, "abs")
    video = torch.stack([torch.from_numpy(to_uint8(frame, truncate=True)) for frame in raw[1:]])
    expected = golden["out.video_u8"].cpu()
    yield Check("out.video_u8", _error(video, expected), 1.0, "levels")
    yield Check("out.video_u8 (share of values)", (video != expected).double().mean().item(), 1e-3, "share")


@torch.no_grad()
def network_checks(golden: Golden) -> Iterator[Check]:
    """The networks on their own, and batches of two."""
    networks, dtype = golden.networks, golden.networks.dtype

    def unet(prefix: str, pose: torch.Tensor | None = None, timestep_of: str = "unet.timestep") -> torch.Tensor:
        return networks.unet(
            golden[f"{prefix}sample"].to(dtype),
            golden[timestep_of],
            golden[f"{prefix}encoder_hidden_states"].to(dtype),
            golden[f"{prefix}added_time_ids"],
            pose_features=pose,
            return_dict=False,
        )[0]

    yield golden.close("unet.out_with_pose", unet("unet.", golden["unet.pose_features"].to(dtype)))
    yield golden.close("unet.out_without_pose", unet("unet."))
    yield golden.close("unet.second_out_without_pose", unet("unet.second_"))
    both = networks.unet(
        torch.cat([golden["unet.sample"], golden["unet.second_sample"]]).to(dtype),
        golden["unet.timestep"],
        torch.cat([golden["unet.encoder_hidden_states"], golden["unet.second_encoder_hidden_states"]]).to(dtype),
        torch.cat([golden["unet.added_time_ids"], golden["unet.second_added_time_ids"]]),
        return_dict=False,
    )[0]
    for index, name in enumerate(("unet.out_without_pose", "unet.second_out_without_pose")):
        check = golden.close(name, both[index])
        yield Check(f"{name} (batch of two)", check.error, check.tolerance, check.unit)

    latents, scaling = golden["vae.latent"], networks.vae.config.scaling_factor
    # The decoder divides by the scaling factor, which these latents have not been multiplied by.
    clip = torch.stack(list(decode(networks.vae, latents * scaling, chunk=len(latents))))
    yield golden.close("vae.decoded", clip)
    singles = torch.stack(list(decode(networks.vae, latents * scaling, chunk=1)))
    yield golden.close("vae.decoded_one_by_one", singles)
    yield golden.close("vae.encoded_mode", reference_latent(networks.vae, golden["vae.image"][0], upcast=False))

    big = to_signed(golden["clip.big_image_u8"].cpu().numpy()).to(golden.device)
    yield golden.close("clip.big_pixel_values", clip_pixels(big))
    yield golden.close("clip.big_embedding", image_embedding(networks.image_encoder, big))


def _compare(name: str, pairs: list[tuple[np.ndarray, np.ndarray]], tolerance: float, unit: str) -> Check:
    errors = [float(np.abs(np.asarray(a, float) - np.asarray(b, float)).max(initial=0)) for a, b in pairs]
    return Check(name, max(errors), tolerance, unit)


def drawing_checks(data: Any) -> Iterator[Check]:
    """Guidance images and rescaling of driving poses: ``pose.npz``."""
    parts = ("candidate", "subset", "score", "hands", "hands_score", "faces", "faces_score")
    for case in sorted({name.split("_")[0] for name in data.files if name.startswith("set")}):
        height, width = (int(side) for side in data[f"{case}_HW"])
        image = draw_guidance(from_released(**{part: data[f"{case}_{part}"] for part in parts}), height, width)
        yield _compare(f"pose.{case}_image", [(image.transpose(2, 0, 1), data[f"{case}_image"])], 0, "levels")
    for case in sorted({name.split("_")[0] for name in data.files if name.startswith("rescale")}):
        frames = sorted({name.split("_")[1] for name in data.files if name.startswith(f"{case}_f")})
        used = [point for point in FITTED if data[f"{case}_ref_subset"][0, point] >= 0]
        bodies = [data[f"{case}_{frame}_in_body"] for frame in frames]
        alone = np.stack([body[used] for body in bodies if len(body) == 18])
        target = np.broadcast_to(data[f"{case}_ref_candidate"][used], alone.shape)
        (video_height, video_width), (height, width) = data[f"{case}_video_HW"], data[f"{case}_ref_HW"]
        of_frame = np.arange(len(alone)).repeat(len(used))
        fit = fit_alignment(
            alone.reshape(-1, 2),
            target.reshape(-1, 2),
            of_frame,
            (video_width, video_height),
            (width, height),
            "released",
        )
        yield _compare(f"pose.{case}_a", [(np.array([fit.ax, fit.ay]), data[f"{case}_a"])], 1e-9, "abs")
        yield _compare(f"pose.{case}_b", [(np.array([fit.bx, fit.by]), data[f"{case}_b"])], 1e-9, "abs")
        moved = [
            (fit.apply(data[f"{case}_{frame}_in_{part}"]), data[f"{case}_{frame}_out_{part}"])
            for frame in frames
            for part in ("body", "faces", "hands")
        ]
        yield _compare(f"pose.{case}_out", moved, 1e-9, "abs")


def dwpose_checks(data: Any) -> Iterator[Check]:
    """What stands around DWPose's two networks: ``dwpose_post.npz``."""
    image = data["image_u8"]
    height, width = image.shape[:2]
    square, scale = letterbox(image)
    yield _compare("dwpose.det_input_u8", [(square, data["det_input_u8"])], 0, "levels")
    output = np.zeros((8400, 85), np.float32)
    output[:, 4:] = data["det_background_value"]
    output[data["det_output_nonbg_index"]] = data["det_output_rows"]
    boxes, _ = decode_people(output, scale)
    boxes = boxes if len(boxes) else whole_frame(width, height)
    regions = [pose_region(box) for box in boxes]
    first = pose_input(image, *regions[0])
    yield _compare("dwpose.pose_input_person0", [(first, data["pose_input_person0"])], 1e-5, "abs")
    found = [
        decode_keypoints(simcc_x[0], simcc_y[0], *region)
        for simcc_x, simcc_y, region in zip(data["simcc_x"], data["simcc_y"], regions, strict=True)
    ]
    points, scores = to_openpose(np.stack([found_ for found_, _ in found]), np.stack([score for _, score in found]))
    yield _compare("dwpose.keypoints134", [(points, data["keypoints134"])], 3e-5, "px")
    yield _compare("dwpose.scores134", [(scores, data["scores134"])], 1e-6, "abs")

    people = drawn_people(np.stack([p for p, _ in found]), np.stack([s for _, s in found]), width, height)
    golden = from_released(
        *(data[n] for n in ("candidate", "subset", "score", "hands", "hands_score", "faces", "faces_score"))
    )
    for field in fields(people):
        mine, theirs = getattr(people, field.name), getattr(golden, field.name)
        yield _compare(f"dwpose.{field.name}", [(mine, theirs)], 1e-6, "abs")


def checks(folder: Path, device: str, dtype: str) -> Iterator[Check]:
    """Every array that runs through a network, in the precision asked for."""
    golden = Golden(folder, device, dtype)
    yield from pipeline_checks(golden)
    yield from network_checks(golden)


def main() -> int:
    """Print the tables; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of golden data")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments = parser.parse_args()
    # Or convolutions on a GPU would be computed with 10 bits.
    torch.backends.cudnn.allow_tf32 = False

    found = list(checks(arguments.folder, arguments.device, "float32"))
    for name, part in (("pose.npz", drawing_checks), ("dwpose_post.npz", dwpose_checks)):
        if (path := arguments.folder / name).is_file():
            found += part(np.load(path, allow_pickle=False))
    rows = [(c.name, f"{c.error:.2e}", f"{c.tolerance:.0e}", c.unit, "ok" if c.passed else "FAILED") for c in found]
    print(table(("array", "max error", "tolerance", "unit", "verdict"), rows))
    failed = sum(not check.passed for check in found)
    print(f"\n{len(found)} arrays, {failed} outside of their tolerance")

    if arguments.device != "cpu":
        halves = {dtype: list(checks(arguments.folder, arguments.device, dtype)) for dtype in ("float16", "bfloat16")}
        shown = [
            (half.name, half.unit, f"{half.error:.2e}", f"{brain.error:.2e}")
            for half, brain in zip(*halves.values(), strict=True)
        ]
        print("\n" + table(("array", "unit", *halves), shown))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
