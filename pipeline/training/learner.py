"""A training run's networks, optimiser and averages on one worker: a step, the state, and what is exported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from model.checkpoint import Networks
from model.noise import generator
from model.training.autoencoding import AutoencodingObjective, latent_scale
from model.training.averaging import Average
from model.training.batches import ClipBatch, TrainingClip, draw
from model.training.denoising import DenoisingObjective
from model.training.export import export, export_vae
from model.training.learning import choose_learned, rate
from model.training.lora import add_lora
from pipeline.training.parallel import Workers, spread_like
from pipeline.training.settings import TrainingSettings

_PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}

# A scale for float16 starts at 65,536 and halves with each step that is left out: what is computed at all is by then.
_MOST_LEFT_OUT = 20


def objective_of(settings: TrainingSettings, networks: Networks) -> tuple[nn.Module, list[str]]:
    """What computes losses, as ``settings`` say, and the names of its parameters that learn."""
    objective: nn.Module
    if settings.objective == "autoencoding":
        objective = AutoencodingObjective(networks.vae, settings.kl_weight)
    else:
        objective = DenoisingObjective(networks.unet, networks.pose_net, networks.vae, networks.image_encoder)
        if settings.checkpointing:
            networks.unet.enable_gradient_checkpointing()
        if settings.lora_rank:
            add_lora(networks.unet, settings.lora_rank, settings.seed)
    return objective, list(choose_learned(objective, settings.learn))


def in_precision(precision: str, device: str) -> torch.autocast:
    """A block that computes in the precision of that name."""
    dtype = _PRECISIONS.get(precision)
    return torch.autocast(torch.device(device).type, dtype or torch.bfloat16, enabled=dtype is not None)


class Learner:
    """``networks`` on ``device``, learning what ``settings`` say. ``step`` is the number of steps behind it.

    ``workers`` train together, each with a learner: what one is asked for, all must be asked for.
    """

    def __init__(self, settings: TrainingSettings, networks: Networks, device: str, workers: Workers) -> None:
        self.settings, self.networks, self.device, self.workers = settings, networks, device, workers
        self.objective, names = objective_of(settings, networks)
        self._parallel = workers.spread(self.objective, device)
        self.learned = {name: self.objective.get_parameter(name) for name in names}
        self.optimizer = torch.optim.AdamW(
            self.learned.values(),
            lr=settings.learning_rate,
            betas=(0.9, settings.beta2),
            weight_decay=settings.weight_decay,
            foreach=True,
        )
        self.average = Average(self.learned, settings.ema)
        self.step = 0
        self._scaler = torch.amp.GradScaler(device, enabled=settings.precision == "float16")
        self._left_out = 0

    def train(self, clips: Sequence[TrainingClip], indices: Sequence[int]) -> dict[str, float]:
        """One step on these clips, whose ``indices`` in the run say what is drawn for them.

        Its metrics, of the clips of all workers. Where gradients are not finite nothing is learnt from the clips: no
        weight would be finite again. Raises ``ValueError`` when it is so many times one after another.
        """
        settings = self.settings
        share = rate(self.step, settings.steps, settings.warmup, settings.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * share
        self.optimizer.zero_grad(set_to_none=True)
        self.objective.train()
        total = 0.0
        size = -(-len(clips) // settings.accumulate)
        parts = [slice(start, start + size) for start in range(0, len(clips), size)]
        for part in parts:
            losses = self.losses(clips[part], indices[part])
            loss = losses.sum() / len(clips)
            self._scaler.scale(loss).backward()
            total += loss.item()
        self._scaler.unscale_(self.optimizer)
        clipped = nn.utils.clip_grad_norm_(self.learned.values(), settings.clip_norm)
        norm = float(clipped.full_tensor() if isinstance(clipped, DTensor) else clipped)
        # The same on all workers, as gradients are.
        finite = math.isfinite(norm)
        if finite or self._scaler.is_enabled():
            # Which leaves such a step out, and scales less from then on.
            self._scaler.step(self.optimizer)
            self._scaler.update()
        self.average.update(self.learned, self.step)
        self.step += 1
        # Each worker has as many clips as the others.
        loss_of_all = self.workers.mean(total)
        self._left_out = 0 if finite else self._left_out + 1
        if self._left_out == _MOST_LEFT_OUT:
            raise ValueError(
                f"step {self.step}: gradients were not finite {_MOST_LEFT_OUT} times one after another (loss "
                f"{loss_of_all:g}); lower learning_rate ({settings.learning_rate:g}), or choose another precision "
                f"({settings.precision}), or look at the weights that the run started from"
            )
        return {"loss": loss_of_all, "gradient_norm": norm, "learning_rate": settings.learning_rate * share}

    def losses(self, clips: Sequence[TrainingClip], indices: Sequence[int], seed: int | None = None) -> torch.Tensor:
        """Each clip's loss, (B,), with the noise that ``seed`` (the run's own by default) draws for it."""
        seed = self.settings.seed if seed is None else seed
        with in_precision(self.settings.precision, self.device):
            if self.settings.objective == "autoencoding":
                return self._reconstruction(clips, indices, seed)
            batch = ClipBatch.of(clips, self.device)
            frames, (height, width) = batch.frames.shape[1], batch.frames.shape[-2:]
            shape = (frames, self.networks.grid.channels, *batch.weights.shape[-2:])
            draws = draw(seed, indices, shape, (height, width), self.settings.noise, self.device)
            return self._parallel(batch, draws)

    def _reconstruction(self, clips: Sequence[TrainingClip], indices: Sequence[int], seed: int) -> torch.Tensor:
        batch = ClipBatch.of(clips)
        shape = (batch.frames.shape[1], self.networks.grid.channels, *batch.weights.shape[-2:])
        noise = [torch.randn(shape, generator=generator(seed, "posterior", index)) for index in indices]
        return self._parallel(batch.frames.to(self.device), torch.stack(noise).to(self.device))

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on; of what is spread, only the first worker has it all."""
        state = {
            "step": self.step,
            "learned": {name: parameter.detach() for name, parameter in self.learned.items()},
            "average": self.average.values,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }
        return dict(self.workers.whole(state))

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a ``state``, of which nothing is kept: its tensors may lie in a file."""
        self.step = state["step"]
        for name, parameter in self.learned.items():
            parameter.copy_(spread_like(state["learned"][name], parameter))
            self.average.values[name].copy_(spread_like(state["average"][name], parameter))
        parameters = list(self.learned.values())
        # What had no gradient yet has no moments.
        moments = {
            place: {name: _own(value, parameters[place]) for name, value in kept.items()}
            for place, kept in state["optimizer"]["state"].items()
        }
        self.optimizer.load_state_dict({**state["optimizer"], "state": moments})
        self._scaler.load_state_dict(state["scaler"])

    def averaged(self) -> Averaged:
        """A block in which the networks have their averaged weights."""
        return Averaged(self)

    def export(self, folder: Path, clips: Sequence[TrainingClip]) -> None:
        """Write the averaged networks in the released format; ``clips`` say how large a new VAE's latents are."""
        with self.averaged():
            networks = self.networks
            if self.settings.objective == "autoencoding":
                frames = ClipBatch.of(clips).frames.flatten(0, 1).to(self.device)
                networks.vae.register_to_config(scaling_factor=round(latent_scale(networks.vae, frames), 5))
                export_vae(networks.vae, folder / "vae")
            else:
                export(networks, folder)


class Averaged:
    """Entered, the learned weights are the averages; left, they are themselves again."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    def __enter__(self) -> None:
        learner = self._learner
        self._own = {name: parameter.detach().clone() for name, parameter in learner.learned.items()}
        learner.objective.eval()
        _set(learner.learned, learner.average.values)

    def __exit__(self, *_: object) -> None:
        _set(self._learner.learned, self._own)


def _own(moment: torch.Tensor, parameter: nn.Parameter) -> torch.Tensor:
    """A moment of ``parameter``, or its count of steps, as this worker's optimiser keeps and changes it."""
    value = spread_like(moment, parameter) if moment.shape == parameter.shape else moment
    # To a GPU a moment is copied anyway, but not the count.
    return value.clone() if parameter.device.type == "cpu" or not value.ndim else value


@torch.no_grad()
def _set(parameters: dict[str, nn.Parameter], values: dict[str, torch.Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(values[name])
