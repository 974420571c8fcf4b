from typing import Any

import pytest

from pipeline.resources import Resources


def divide(
    monkeypatch,
    nodes: list[dict[str, float]],
    rows=100,
    driving=100,
    device="cpu",
    workers=None,
    per_gpu=1,
    threads=1,
    dwpose=False,
) -> Resources:
    total: dict[str, float] = {}
    for node in nodes:
        for name, amount in node.items():
            total[name] = total.get(name, 0) + amount
    described: list[dict[str, Any]] = [{"Alive": True, "Resources": node} for node in nodes]
    monkeypatch.setattr("ray.cluster_resources", lambda: total)
    monkeypatch.setattr("ray.nodes", lambda: described)
    return Resources.of(device, "dwpose" if dwpose else "holistic", workers, per_gpu, threads, rows, driving)


def cores(share: Resources) -> float:
    """What all actors ask for together."""
    return (
        share.workers.wanted() * share.workers.cpus
        + share.pose_workers * share.pose_cpus
        + share.videos * share.video_cpus
    )


@pytest.mark.parametrize("workers", [None, 1, 2, 3, 50])
@pytest.mark.parametrize("cpus", [1, 2, 4, 64])
def test_all_actors_leave_cores_for_others(monkeypatch, cpus, workers):
    share = divide(monkeypatch, [{"CPU": cpus}], workers=workers)
    assert cores(share) < cpus
    assert share.workers.gpus == share.pose_gpus == 0
    assert share.workers.wanted() == (workers or {1: 1, 2: 2, 4: 2, 64: 32}[cpus])


def test_workers_of_several_threads_are_fewer(monkeypatch):
    assert divide(monkeypatch, [{"CPU": 64}], threads=4).workers.wanted() == 8


def test_no_actor_asks_for_more_than_the_smallest_node_has(monkeypatch):
    share = divide(monkeypatch, [{}, {"CPU": 4}, {"CPU": 64}], workers=1)
    assert max(share.workers.cpus, share.pose_cpus, share.video_cpus) <= 4


def test_more_videos_are_in_work_than_there_are_workers_but_no_more_than_rows(monkeypatch):
    assert divide(monkeypatch, [{"CPU": 64}], workers=8).videos == 12
    share = divide(monkeypatch, [{"CPU": 64}], rows=3, driving=1)
    assert (share.videos, share.pose_workers) == (3, 1)


def test_on_gpus_it_is_one_worker_each_and_poses_beside_them(monkeypatch):
    share = divide(monkeypatch, [{"CPU": 16, "GPU": 4}] * 2, device="cuda")
    assert (share.workers.wanted(), share.workers.gpus, share.pose_gpus) == (8, 1, 0)
    assert cores(share) < 32


def test_workers_follow_the_gpus_that_come_later(monkeypatch):
    share = divide(monkeypatch, [{"CPU": 16, "GPU": 2}], device="cuda", per_gpu=2)
    assert (share.workers.wanted(), share.workers.gpus) == (4, 0.5)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 32, "GPU": 6})
    assert share.workers.wanted() == 12


def test_workers_that_there_is_no_gpu_for_yet_are_asked_for(monkeypatch):
    share = divide(monkeypatch, [{"CPU": 4}], device="cuda", workers=3)
    assert (share.workers.wanted(), share.workers.gpus) == (3, 1)


@pytest.mark.parametrize("per_gpu", [1, 2, 3])
def test_dwpose_shares_the_gpus_and_what_is_on_one_fits(monkeypatch, per_gpu):
    share = divide(monkeypatch, [{"CPU": 16, "GPU": 4}], device="cuda", per_gpu=per_gpu, dwpose=True)
    assert per_gpu * share.workers.gpus + share.pose_gpus <= 1
    assert share.pose_gpus == 0.25
    assert share.pose_workers <= 4


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    with pytest.raises(ValueError, match="has no GPU"):
        divide(monkeypatch, [{"CPU": 16}], device="cuda")
