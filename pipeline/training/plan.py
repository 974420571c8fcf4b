"""What a run would hold in memory and learn, found out on tensors without contents: no weights are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from model.checkpoint import Networks
from model.framing import POSE_FACTOR
from model.training.batches import ClipBatch, Draws
from model.training.denoising import DenoisingObjective
from model.training.memory import TrainingMemory, activations, training_memory
from model.training.starting import empty_networks
from pipeline.report import table
from pipeline.training.learner import in_precision, objective_of
from pipeline.training.settings import TrainingSettings


@dataclass(frozen=True)
class Plan:
    """``learned`` of ``parameters`` numbers learn; ``memory`` of one of the workers; ``clips`` it takes at a time."""

    parameters: int
    learned: int
    clips: int
    memory: TrainingMemory

    def describe(self) -> str:
        """A table for people."""
        memory = self.memory
        rows = [
            ("weights", memory.weights),
            ("AdamW's moments", memory.moments),
            ("averaged weights", memory.average),
            (f"activations of {self.clips} clips", memory.activations),
            ("gradients, beside them" if memory.gradients_stay else "gradients, as activations go", memory.gradients),
            ("parts put together, beside them", memory.gathered),
            ("encoding, before them", memory.encoding),
            ("at most at once", memory.peak),
        ]
        cells = [(name, f"{size / 2**30:.2f} GiB") for name, size in rows]
        head = f"{self.learned:,} of {self.parameters:,} parameters learn"
        return f"{head}\n{table(('memory of a worker', 'estimate'), cells)}"


def plan(settings: TrainingSettings, model: str, vae: str | None, workers: int, shard: bool) -> Plan:
    """Runs one forward pass on tensors that have shapes alone, so networks that do not fit together are found too.

    Raises ``ValueError`` when nothing learns, and what reading the configurations raises.
    """
    per_worker = settings.batch // workers
    clips = -(-per_worker // settings.accumulate)
    networks = empty_networks(model, vae)
    objective, names = objective_of(settings, networks)
    # Not on the meta device: its attention is the one that keeps every weight of every pair of places.
    with FakeTensorMode():
        _put_on_cpu(objective)
        learned = {name: objective.get_parameter(name) for name in names}
        kept = activations(objective, _forward(settings, networks, objective, clips))
        pictures = 0 if settings.objective == "autoencoding" else clips * settings.frames
        encoded = (pictures, 3, settings.height, settings.width)
        # Those of earlier parts wait for the next ones; and copies of a network have a buffer to agree in (DDP).
        stay = clips < per_worker or (workers > 1 and not shard)
        memory = training_memory(objective, learned, kept, encoded, workers if shard else 1, stay)
        return Plan(
            parameters=sum(parameter.numel() for parameter in objective.parameters()),
            learned=sum(parameter.numel() for parameter in learned.values()),
            clips=clips,
            memory=memory,
        )


def _put_on_cpu(network: nn.Module) -> None:
    """Tensors that say they are there, in place of those on the meta device."""
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            empty = nn.Parameter(torch.empty(parameter.shape), requires_grad=parameter.requires_grad)
            module.register_parameter(name, empty)
        for name, buffer in module.named_buffers(recurse=False):
            module.register_buffer(name, torch.empty(buffer.shape, dtype=buffer.dtype), persistent=False)


def _forward(
    settings: TrainingSettings, networks: Networks, objective: nn.Module, clips: int
) -> Callable[[], torch.Tensor]:
    height, width = settings.height, settings.width
    channels, rows, columns = networks.grid.shape(height, width)
    latents = torch.empty(clips, settings.frames, channels, rows, columns)
    frames = torch.empty(clips, settings.frames, 3, height, width)
    guidance = torch.empty(clips, settings.frames, 3, POSE_FACTOR * rows, POSE_FACTOR * columns)
    batch = ClipBatch(frames, guidance, latents[:, :, 0])
    draws = Draws(torch.empty(clips), latents, torch.zeros(clips, dtype=torch.bool), torch.empty(clips), frames[:, 0])

    def forward() -> torch.Tensor:
        with in_precision(settings.precision, "cpu"):
            if isinstance(objective, DenoisingObjective):
                return objective.of_latents(latents, latents[:, 0], batch, draws)
            found: torch.Tensor = objective(frames, latents)
            return found

    return forward
