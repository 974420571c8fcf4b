"""Videos over several workers, nothing going wrong: the bits of one loop, whoever did what."""

import asyncio
import functools
import os
import time

import numpy as np
import pytest
import ray
import torch
from ray import cloudpickle

from cluster import coordinator as module
from cluster.client import animate
from cluster.coordinator import Coordinator, UnknownVideo
from cluster.demand import WorkerDemand
from model.animator import Animator
from model.keypoints import PoseSequence
from model.scene import compose
from model.segments import SegmentEngine
from model.settings import AnimationSettings
from tests.cluster import toy

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture(scope="module")
def windows_log(tmp_path_factory):
    """Whose window the workers of the pools made, in order."""
    return tmp_path_factory.mktemp("pools") / "windows"


@pytest.fixture(scope="module")
def pools(local_ray, windows_log):
    """Coordinators by their number of workers, made when first asked for."""
    made = {}

    def pool(workers: int):
        if workers not in made:
            made[workers] = toy.coordinator(workers, toy.loader(seconds=0.02, log=windows_log), cpus=0.01)
            toy.wait_for_workers(made[workers], workers)
        return made[workers]

    yield pool
    for handle in made.values():
        ray.kill(handle)


@pytest.mark.parametrize("fusion", ["progressive", "released", "shifted"])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_latents_are_the_bits_of_one_loop_for_any_number_of_workers(pools, workers, fusion):
    wanted = toy.job(60, fusion=fusion)
    handle = pools(workers)
    toy.start(handle, wanted)
    toy.follow(handle, wanted)
    np.testing.assert_array_equal(toy.fetch(handle, wanted), toy.in_one_loop(wanted))


def test_where_workers_abound_the_two_passes_are_made_by_two(pools):
    wanted = toy.job(19, guided=True)
    handle = pools(5)
    before = ray.get(handle.figures.remote())["calls"]
    toy.start(handle, wanted)
    toy.follow(handle, wanted)
    found = toy.fetch(handle, wanted)
    np.testing.assert_allclose(found, toy.in_one_loop(wanted), rtol=1e-5, atol=1e-5)
    windows = sum(len(plan.windows) for plan in wanted.plans)
    # Two passes and one to put them together; one more to open the video.
    assert ray.get(handle.figures.remote())["calls"] - before == 3 * windows + 1 + len(wanted.spans)


def test_videos_share_the_pool_and_a_long_one_does_not_starve_a_short_one(pools, windows_log):
    handle = pools(2)
    long, short = toy.job(400, "long"), toy.job(12, "short")
    toy.start(handle, long)
    toy.start(handle, short)
    toy.follow(handle, short)
    np.testing.assert_array_equal(toy.fetch(handle, short), toy.in_one_loop(short))
    toy.follow(handle, long)
    np.testing.assert_array_equal(toy.fetch(handle, long), toy.in_one_loop(long))
    # The long one has 57 windows a step; in turns, the short one is opened and its six windows wait for some five each.
    made = windows_log.read_text().split()
    assert made.count("long") == toy.STEPS * 57
    last = len(made) - made[::-1].index("short")
    assert made[:last].count("long") < 2 * 57


def test_workers_load_before_there_is_a_video(local_ray, tmp_path):
    handle = toy.coordinator(1, functools.partial(toy.marked, toy.loader(), tmp_path, 0.0), cpus=0.01)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.iterdir()):
            assert time.monotonic() < deadline, "nobody has begun to load"
            time.sleep(0.05)
    finally:
        ray.kill(handle)


def test_a_worker_may_be_given_more_than_it_keeps_itself(local_ray, tmp_path):
    lagging, others = toy.job(19, "lagging"), [toy.job(19, f"other-{number}") for number in range(4)]
    handle = toy.coordinator(3, toy.loader(lagging=("lagging", 18, tmp_path / "go")), cpus=0.01)
    try:
        toy.wait_for_workers(handle, 3)
        toy.start(handle, lagging)
        # One worker is long at its window. The one that has made the other is given many of other videos meanwhile.
        for wanted in others:
            toy.start(handle, wanted)
            toy.follow(handle, wanted)
        (tmp_path / "go").touch()
        toy.follow(handle, lagging)
        for wanted in (lagging, *others):
            np.testing.assert_array_equal(toy.fetch(handle, wanted), toy.in_one_loop(wanted))
    finally:
        ray.kill(handle)


def test_nothing_of_a_video_stays_on_the_node(local_ray, tmp_path):
    handle = toy.coordinator(2, functools.partial(toy.remembering, toy.loader(seconds=0.05), tmp_path), cpus=0.01)
    try:
        toy.wait_for_workers(handle, 2)
        done, given_up = toy.job(40, "done"), toy.job(40, "given up")
        for wanted in (done, given_up):
            toy.start(handle, wanted)
        ray.get(handle.steps_done.remote("given up", 2))
        assert list(tmp_path.rglob("*.part"))
        ray.get(handle.finish.remote("given up"))
        toy.follow(handle, done)
        toy.fetch(handle, done)
        # Folders go while they are looked through, which `rglob` does not bear.
        deadline = time.monotonic() + 20
        while left := [name for _, _, names in os.walk(tmp_path) for name in names if name.endswith(".part")]:
            assert time.monotonic() < deadline, left
            time.sleep(0.1)
    finally:
        ray.kill(handle)


def test_where_the_node_has_no_room_latents_go_by_way_of_the_object_store(local_ray):
    handle = toy.coordinator(2, functools.partial(toy.without_room, toy.loader(seconds=0.02)), cpus=0.01)
    try:
        toy.wait_for_workers(handle, 2)
        wanted = toy.job(60)
        toy.start(handle, wanted)
        toy.follow(handle, wanted)
        np.testing.assert_array_equal(toy.fetch(handle, wanted), toy.in_one_loop(wanted))
    finally:
        ray.kill(handle)


def test_a_video_that_is_given_up_half_way_leaves_nothing_behind_that_the_next_would_wait_for(pools):
    handle, wanted = pools(2), toy.job(120)
    toy.start(handle, wanted)
    # With as many windows waiting as there can be.
    ray.get(handle.steps_done.remote(wanted.name, 0))
    toy.start(handle, wanted)
    toy.follow(handle, wanted)
    np.testing.assert_array_equal(toy.fetch(handle, wanted), toy.in_one_loop(wanted))


def test_a_video_that_nobody_asks_for_any_more_is_dropped(local_ray, monkeypatch, caplog):
    monkeypatch.setattr(module, "_ASKS_WITHIN_S", 0.1)
    monkeypatch.setattr(module, "_LEASE_S", 1.0)
    alive, dead = toy.job(30, "alive"), toy.job(30, "dead")

    async def work() -> None:
        coordinator = Coordinator(cloudpickle.dumps(toy.loader(seconds=0.1)), WorkerDemand(1, 0.01))
        contents = [ray.put(toy.ToyContent()) for _ in range(2)]
        for wanted, content in zip((alive, dead), contents, strict=True):
            await coordinator.start(wanted, [content], 0)
        done, asked = 0, 0
        while done < toy.STEPS:
            done = await coordinator.steps_done("alive", done)
            asked += 1
        # Longer than the other was waited for, and told in between.
        assert asked > toy.STEPS
        assert len(await coordinator.chunk("alive", 0)) == 1
        with pytest.raises(UnknownVideo, match="dead"):
            await coordinator.steps_done("dead", 0)

    asyncio.run(work())
    assert "dead: nobody has asked for it" in caplog.text


def test_one_that_died_waiting_does_not_keep_its_successor_waiting(local_ray):
    """All three are as large as all there is room for."""
    first, second = toy.job(12, "first"), toy.job(12, "second")
    size = int(ray.cluster_resources()["object_store_memory"])

    async def work() -> None:
        coordinator = Coordinator(cloudpickle.dumps(toy.loader()), WorkerDemand(1, 0.01))
        contents = [ray.put(toy.ToyContent()) for _ in range(3)]
        await coordinator.start(first, contents[:1], size)
        waiting = [asyncio.create_task(coordinator.start(second, [content], size)) for content in contents[1:]]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in waiting)
        await coordinator.finish("first")
        await asyncio.wait_for(asyncio.gather(*waiting), 10)

    asyncio.run(work())


def test_what_goes_through_the_coordinator_does_not_grow_with_the_windows_length(pools):
    handle, used = pools(2), []
    frame = 4 * toy.SHAPE[1] * toy.SHAPE[2] * 4
    for frames in (60, 60):
        wanted = toy.job(frames)
        before = ray.get(handle.figures.remote())
        toy.start(handle, wanted)
        toy.follow(handle, wanted)
        after = ray.get(handle.figures.remote())
        toy.fetch(handle, wanted)
        used.append(after["coordinator_bytes"] - before["coordinator_bytes"])
        windows = len(wanted.plans[0].windows)
        # Frame 0 to every window, and a share of it from there.
        assert used[-1] == toy.STEPS * 2 * windows * frame
        # 4 frames each way over each border that lies between the two workers; nothing else in later steps.
        assert after["between_bytes"] - before["between_bytes"] <= toy.STEPS * 2 * 4 * (windows - 1) * frame


def test_the_real_network_gives_the_frames_of_the_plain_loop(local_ray, small_model):
    rng = np.random.default_rng(0)
    settings = AnimationSettings(resolution="64x64", window=8, overlap=2, steps=2, decode_chunk=6)

    def someone(frames: int) -> PoseSequence:
        empty = PoseSequence.empty(frames, 64, 64)
        points = rng.uniform(8, 56, empty.keypoints.shape).astype(np.float32)
        scores = rng.uniform(0.2, 1, empty.scores.shape).astype(np.float32)
        return PoseSequence(points, scores, empty.boxes, empty.box_scores, empty.people, 64, 64)

    picture = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    handle = toy.coordinator(2, functools.partial(SegmentEngine.load, 1, **small_model), cpus=0.01)
    try:
        # Decoded one by one, a chunk is the reference alone.
        one_by_one = {"style": "released", "decode_chunk": 1, "decode_overlap": 0}
        released = {"style": "released", "fusion": "released"}
        for changed in ({}, released, one_by_one, {"guidance": "1", "fusion": "shifted"}):
            wanted = settings.replace(**changed)
            scene = compose(picture, someone(1), someone(20), wanted)
            events = []
            found = list(
                animate(handle, "video", scene, wanted, progress=lambda *event, seen=events: seen.append(event))
            )
            torch.set_num_threads(1)
            expected = list(Animator.load(**small_model).animate(scene, wanted))
            np.testing.assert_array_equal(np.stack(found), np.stack(expected))
            assert ("step", 2, 2) in events
            assert events[-1] == ("frame", 20, 20)
    finally:
        ray.kill(handle)


def test_workers_are_started_where_the_nodes_memory_cannot_be_had_and_say_why_themselves(monkeypatch):
    def refused(*_arguments: str) -> None:
        raise PermissionError("the folder belongs to another user; remove it")

    async def begun() -> bool:
        coordinator = Coordinator(b"", WorkerDemand(0, 1.0))
        await coordinator.begin()
        return coordinator._pool._watcher is not None

    monkeypatch.setattr(module, "NodeMemory", refused)
    assert asyncio.run(begun())
