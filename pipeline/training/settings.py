"""What a training run is: a recipe in a file, checked; what the command line gives comes first."""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from model.training.autoencoding import KL_WEIGHT
from model.training.batches import NoiseSettings
from model.training.learning import Learned, Start


def _setting(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True)
class TrainingSettings:
    """A run, but for where things are. Every field changes the result.

    Raises ``ValueError`` naming the setting, its value and what was expected.
    """

    objective: Literal["denoising", "autoencoding"] = _setting("denoising", "what is learnt: the animation, or the VAE")
    start: Start = _setting("svd", "weights to start from: drawn from the seed, SVD's, or a MimicMotion checkpoint")
    learn: tuple[Learned, ...] = _setting(
        ("pose_net", "unet"),
        "parts that learn: pose_net, unet, temporal (of it), lora, image_encoder, vae, vae_images (no look along time)",
    )
    lora_rank: int = _setting(0, "rank of the LoRA matrices that learn with learn 'lora'; 0 for none")
    steps: int = _setting(10_000, "optimiser steps")
    batch: int = _setting(8, "clips of a step, over all workers")
    accumulate: int = _setting(1, "parts that a worker takes its clips of a step in, one after another, to save memory")
    frames: int = _setting(16, "frames of a clip, the reference frame included")
    width: int = _setting(576, "of the pictures")
    height: int = _setting(1024, "of the pictures")
    crop: int = _setting(
        0, "side of the squares around the figure that a VAE learns from at first; 0 for whole pictures"
    )
    crop_share: float = _setting(0.8, "share of the steps that are on such squares")
    kl_weight: float = _setting(KL_WEIGHT, "of the divergence of a VAE's latents from a normal distribution")
    learning_rate: float = _setting(1e-5, "of AdamW, after the warm-up (paper: 1e-5)")
    schedule: Literal["constant", "cosine"] = _setting("constant", "learning rate after the warm-up")
    warmup: int = _setting(500, "steps over which the learning rate grows")
    weight_decay: float = _setting(0.01, "of AdamW")
    beta2: float = _setting(0.999, "of AdamW")
    clip_norm: float = _setting(1.0, "largest norm of a step's gradient")
    ema: float = _setting(0.9999, "decay of the average of the weights, which is what is exported")
    sigma_mean: float = _setting(NoiseSettings.mean, "mean of ln(sigma)")
    sigma_deviation: float = _setting(NoiseSettings.deviation, "deviation of ln(sigma)")
    dropout: float = _setting(NoiseSettings.dropout, "share of clips told neither embedding, reference nor pose")
    reference_noise: float = _setting(NoiseSettings.reference_noise, "share of clips whose reference picture is noised")
    hand_weight: float = _setting(10.0, "of the loss around reliable hands (paper: 10; 1 for none)")
    confidence: Literal["luminance", "threshold"] = _setting(
        "luminance", "what guidance shows of confidence; 'threshold' draws what scores above 0.3 in full brightness"
    )
    precision: Literal["float32", "bfloat16", "float16"] = _setting("float32", "of the networks' arithmetic")
    checkpointing: bool = _setting(False, "compute activations again in the backward pass, to save memory")
    seed: int = _setting(0, "seed of all randomness")

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for each in dataclasses.fields(self):
            value, allowed = getattr(self, each.name), typing.get_args(hints[each.name])
            if typing.get_origin(hints[each.name]) is Literal and value not in allowed:
                raise ValueError(f"{each.name} is {value!r}, expected one of {', '.join(allowed)}")
            if hints[each.name] is bool and not isinstance(value, bool):
                raise ValueError(f"{each.name} is {value!r}, expected true or false")
        for name in ("steps", "batch", "accumulate", "frames", "width", "height"):
            self._number(name, int, 1, 10**9)
        for name in ("warmup", "lora_rank", "crop", "seed"):
            self._number(name, int, 0, 2**62)
        for name in ("learning_rate", "clip_norm", "sigma_deviation"):
            self._number(name, float, 1e-12, 1e6)
        for name in ("weight_decay", "beta2", "ema", "dropout", "reference_noise", "crop_share"):
            self._number(name, float, 0, 1)
        self._number("hand_weight", float, 1, 1e6)
        self._number("kl_weight", float, 0, 1e6)
        self._number("sigma_mean", float, -100, 100)
        parts = typing.get_args(Learned)
        if not isinstance(self.learn, tuple) or not self.learn:
            raise ValueError(f"learn is {self.learn!r}, expected a list of some of {', '.join(parts)}")
        if unknown := [part for part in self.learn if part not in parts]:
            raise ValueError(f"learn is {', '.join(map(str, unknown))}, expected some of {', '.join(parts)}")
        if ("lora" in self.learn) != (self.lora_rank > 0):
            raise ValueError(
                f"lora_rank is {self.lora_rank}, learn {', '.join(self.learn)}: a rank above 0 goes with 'lora' alone"
            )
        if self.crop > min(self.width, self.height):
            raise ValueError(
                f"crop is {self.crop}, pictures are {self.width}x{self.height}: expected at most their shorter side"
            )
        if self.objective == "denoising":
            self._check_denoising()
        else:
            self._check_autoencoding()

    def _check_denoising(self) -> None:
        if self.frames < 2:
            raise ValueError("frames is 1, objective 'denoising': expected at least 2, as the first is the reference")
        if self.crop:
            raise ValueError(
                f"crop is {self.crop}, objective 'denoising': expected 0, as squares show no poses; only a VAE learns "
                "from them"
            )
        if fixed := [part for part in self.learn if part in ("vae", "vae_images")]:
            raise ValueError(
                f"learn is {', '.join(self.learn)}, objective 'denoising': leave out {', '.join(fixed)}, which learns "
                "with objective 'autoencoding' alone"
            )

    def _check_autoencoding(self) -> None:
        if strange := [part for part in self.learn if part not in ("vae", "vae_images")]:
            raise ValueError(
                f"learn is {', '.join(self.learn)}, objective 'autoencoding': expected vae or vae_images, without "
                f"{', '.join(strange)}"
            )
        if self.checkpointing:
            raise ValueError(
                "checkpointing is on, objective 'autoencoding': expected it off, as a VAE keeps its activations; set "
                "accumulate, or fewer clips or frames, to save memory"
            )

    def _number(self, name: str, kind: type, low: float, high: float) -> None:
        value = getattr(self, name)
        right = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
        if not right or not low <= value <= high:
            whole = "a whole number" if kind is int else "a number"
            raise ValueError(f"{name} is {value!r}, expected {whole} from {low:g} to {high:g}")

    @property
    def noise(self) -> NoiseSettings:
        return NoiseSettings(self.sigma_mean, self.sigma_deviation, self.dropout, self.reference_noise)


def read_recipe(path: str, given: dict[str, Any]) -> TrainingSettings:
    """Settings from a TOML file, ``given`` ones first. Raises ``ValueError`` naming the file and the setting."""
    try:
        recipe = tomllib.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as a recipe in TOML ({error})") from error
    known = {each.name for each in dataclasses.fields(TrainingSettings)}
    if unknown := sorted(set(recipe) - known):
        raise ValueError(f"{path}: unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in {**recipe, **given}.items()
    }
    try:
        return TrainingSettings(**values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
