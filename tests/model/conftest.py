from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model.checkpoint import Networks, load_networks
from model.weight_files import WeightFiles, fetch_weights, read_config


@dataclass(frozen=True)
class Golden:
    """Numbers of the released system on a tiny model; the folder's README says what each of them is."""

    folder: Path

    @cached_property
    def arrays(self) -> dict[str, torch.Tensor]:
        return load_file(self.folder / "arrays.safetensors")

    @cached_property
    def tables(self) -> dict[str, Any]:
        return read_config(self.folder / "tables.json")

    @property
    def files(self) -> WeightFiles:
        return fetch_weights(str(self.folder / "base"), str(self.folder / "MimicMotion_tiny.pth"))

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.arrays[name]


@pytest.fixture(scope="session")
def golden() -> Golden:
    return Golden(Path(__file__).parents[1] / "golden" / "mimicmotion-tiny")


@pytest.fixture(scope="session")
def networks(golden) -> Networks:
    """The golden networks in float32, shared by all tests: leave them as they are."""
    return load_networks(golden.files)
