from typing import Any

import pytest

from pipeline.resources import Resources


def divide(
    monkeypatch, nodes: list[dict[str, float]], rows=100, videos=100, device="cpu", workers=None, dwpose=False
) -> Resources:
    total: dict[str, float] = {}
    for node in nodes:
        for name, amount in node.items():
            total[name] = total.get(name, 0) + amount
    described: list[dict[str, Any]] = [{"Alive": True, "Resources": node} for node in nodes]
    monkeypatch.setattr("ray.cluster_resources", lambda: total)
    monkeypatch.setattr("ray.nodes", lambda: described)
    return Resources.of(device, "dwpose" if dwpose else "holistic", workers, rows, videos)


@pytest.mark.parametrize("workers", [None, 1, 2, 3, 50])
@pytest.mark.parametrize("cpus", [1, 2, 4, 64])
def test_the_actors_of_both_stages_leave_cores_for_others(monkeypatch, cpus, workers):
    share = divide(monkeypatch, [{"CPU": cpus}], workers=workers)
    assert share.workers * share.cpus + share.pose_workers * share.pose_cpus < cpus
    assert share.gpus == share.pose_gpus == 0
    if workers:
        assert share.workers == workers


def test_no_actor_asks_for_more_than_the_smallest_node_has(monkeypatch):
    share = divide(monkeypatch, [{}, {"CPU": 4}, {"CPU": 64}], workers=1)
    assert max(share.cpus, share.pose_cpus, share.threads) <= 4
    assert share.threads == 4


def test_there_are_no_more_workers_than_rows_and_videos(monkeypatch):
    share = divide(monkeypatch, [{"CPU": 64}], rows=3, videos=1)
    assert (share.workers, share.pose_workers) == (3, 1)


def test_on_gpus_it_is_one_worker_each_and_poses_beside_them(monkeypatch):
    share = divide(monkeypatch, [{"CPU": 16, "GPU": 4}] * 2, device="cuda")
    assert (share.workers, share.gpus, share.pose_gpus) == (8, 1, 0)
    assert share.workers * share.cpus + share.pose_workers * share.pose_cpus < 32


@pytest.mark.parametrize("workers", [None, 3, 4, 9])
def test_dwpose_shares_the_gpus_and_what_is_on_one_fits(monkeypatch, workers):
    share = divide(monkeypatch, [{"CPU": 16, "GPU": 4}], device="cuda", workers=workers, dwpose=True)
    busiest = -(-share.workers // 4)
    assert busiest * share.gpus + share.pose_gpus <= 1
    assert share.pose_gpus == 0.25
    assert share.pose_workers <= 4


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    with pytest.raises(ValueError, match="has no GPU"):
        divide(monkeypatch, [{"CPU": 16}], device="cuda")
