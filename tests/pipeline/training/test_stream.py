import numpy as np
import pytest
import ray

from model.training.batches import TrainingClip
from pipeline.training import stream
from pipeline.training.refusal import Refusal, unless_refused
from pipeline.training.stream import clip_indices, stream_clips


def numbered(index: int) -> TrainingClip:
    """A clip that says which it is."""
    return TrainingClip(
        np.full((2, 4, 4, 3), index % 256, np.uint8),
        np.full((2, 8, 8, 3), index % 256, np.uint8),
        np.full((2, 2, 2), float(index), np.float32),
    )


def taken(first: int, steps: int, clips: int, rank: int = 0, world: int = 1) -> list[list[int]]:
    found = stream_clips(numbered, first, steps, clips, rank, world, clip_bytes=1000)
    return [[int(clip.weights[0, 0, 0]) for clip in batch] for batch in found]


@pytest.fixture
def small_rounds(monkeypatch):
    monkeypatch.setattr(stream, "round_bytes", lambda: 9000)


def test_clips_come_in_the_order_of_the_steps_over_several_rounds(local_ray, small_rounds):
    assert taken(0, 7, 3) == [[3 * step + i for i in range(3)] for step in range(7)]


def test_a_run_that_goes_on_gets_the_clips_that_were_left(local_ray, small_rounds):
    assert taken(4, 7, 3) == [[12, 13, 14], [15, 16, 17], [18, 19, 20]]
    assert taken(7, 7, 3) == []


def test_workers_share_a_step(local_ray, small_rounds):
    shares = [taken(0, 3, 4, rank, 2) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*shares, strict=True)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert clip_indices(2, 4, 1, 2) == shares[1][2]


def test_whatever_goes_wrong_with_a_clip_reaches_the_trainer(local_ray):
    def broken(index: int) -> TrainingClip:
        raise ValueError(f"clip {index} is broken")

    refusal = Refusal.remote()
    with pytest.raises(ValueError, match="clip 0 is broken"):
        unless_refused(refusal, lambda: list(stream_clips(broken, 0, 2, 1, 0, 1, clip_bytes=1000)))
    # No second try would mend it.
    assert ray.get(refusal.reason.remote()) == "clip 0 is broken"
