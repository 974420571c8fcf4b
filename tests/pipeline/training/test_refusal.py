"""A run that cannot be is refused by the first worker that finds out, and not tried again."""

from __future__ import annotations

import pytest
import ray

from pipeline.claim import StorageError
from pipeline.inputs import InputError, InputOutage
from pipeline.pose_table import PoseTableOutage
from pipeline.training.refusal import Refusal, unless_refused

pytestmark = pytest.mark.usefixtures("local_ray")


@ray.remote(num_cpus=0)
def _reads_a_clip() -> None:
    raise InputError("clips.parquet: row 3 is of a video that is gone")


def test_what_is_wrong_with_a_request_is_remembered_and_not_tried_again():
    refusal = Refusal.remote()
    tries = []

    def work() -> None:
        tries.append(1)
        ray.get(_reads_a_clip.remote())

    with pytest.raises(InputError):
        unless_refused(refusal, work)
    unless_refused(refusal, work)
    assert len(tries) == 1
    assert ray.get(refusal.reason.remote()) == "clips.parquet: row 3 is of a video that is gone"


@pytest.mark.parametrize(
    "error",
    [
        StorageError("s3://b: no answer"),
        InputOutage("s3://b/a.mp4: no answer"),
        PoseTableOutage("s3://b/1.parquet: no answer"),
        RuntimeError("CUDA error"),
    ],
)
def test_what_may_go_better_the_next_time_is_tried_again(error):
    refusal = Refusal.remote()

    def work() -> None:
        raise error

    with pytest.raises(type(error)):
        unless_refused(refusal, work)
    assert ray.get(refusal.reason.remote()) is None
