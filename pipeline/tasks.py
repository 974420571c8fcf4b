"""What travels between the job and its stages."""

from __future__ import annotations

import gc
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model.keypoints import PoseSequence
from pipeline.catalog import CatalogRow
from pipeline.inputs import InputFile
from pipeline.quarantine import Quarantined

if TYPE_CHECKING:
    from model.segments import SegmentEngine


@dataclass(frozen=True)
class Task:
    """A row to make: its inputs identified, its fingerprint known."""

    row: CatalogRow
    reference: InputFile
    driving: InputFile
    fingerprint: str

    def failed(self, error: BaseException, stage: str) -> Quarantined:
        """The entry for a row that could not be made."""
        return Quarantined.of(error, stage, self.row.id, self.row.line, self.row.row)


@dataclass(frozen=True, eq=False)
class Posed:
    """A row with its poses. ``people`` is how many the driving video showed."""

    task: Task
    driving: PoseSequence
    reference: PoseSequence
    people: int
    seconds: float


@dataclass(frozen=True)
class ModelChoice:
    """Which networks, where and how precise."""

    model: str
    checkpoint: str | None
    device: str
    dtype: str
    attention: str

    def engine(self, threads: int) -> SegmentEngine:
        """What a segment worker computes with."""
        # Here and not above: it brings diffusers and transformers, seconds that only those workers need spend. A fifth
        # of them would go to looking for garbage among what importing makes, which is there to stay.
        gc.disable()
        try:
            from model.segments import SegmentEngine
        finally:
            gc.freeze()
            gc.enable()
        return SegmentEngine.load(threads, **vars(self))


def pack(value: Any) -> dict[str, bytes]:
    """A value as a row that Ray Data carries between the job's own processes."""
    return {"packed": pickle.dumps(value)}


def unpack(packed: bytes) -> Any:
    """What was packed."""
    return pickle.loads(packed)  # noqa: S301 - never a file, only what this job packed


class ModelUnusable(RuntimeError):
    """The networks cannot be loaded: no row can be made."""
