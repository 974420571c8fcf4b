"""Who is given which window: of a pool whose workers are no processes, as only the order of things matters here."""

import asyncio
import math
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.placement import blocks, levelled, shares
from cluster.pool import Pool


class Handle:
    """What the pool knows a worker by, ready at once."""

    def __init__(self):
        self.load = SimpleNamespace(remote=self._load)

    def _load(self):
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(("node", 0))
        return answer


def made_in_turn(asked: list[tuple[str, int | None]], workers: int) -> list[tuple[int, str, int]]:
    """Number, video and maker of each of the windows that are asked for at once, in the order in which they are done,
    when all take the same time.
    """

    async def step() -> list[tuple[int, str, int]]:
        pool = Pool(Handle, lambda: workers, "run")
        pool.start()
        while len(pool.numbers) < workers:
            await asyncio.sleep(0)
        doing: dict[int, list[asyncio.Future[None]]] = {number: [] for number in pool.numbers}
        done = []

        def submit(worker):
            doing[worker.number].append(asyncio.get_running_loop().create_future())
            return [doing[worker.number][-1]]

        async def make(window: int, video: str, number: int | None) -> None:
            answer = await pool.run(video, "step", window, submit, number)
            done.append((window, video, answer.worker.number))

        tasks = [asyncio.ensure_future(make(window, *call)) for window, call in enumerate(asked)]
        while not all(task.done() for task in tasks):
            # One after another within a round, and the oldest worker first, as on a machine of few cores.
            for _ in range(5):
                await asyncio.sleep(0)
            for calls in [calls for calls in doing.values() if calls]:
                calls.pop(0).set_result(None)
                for _ in range(5):
                    await asyncio.sleep(0)
        return done

    return asyncio.run(step())


def makers(preferred: list[int | None], workers: int) -> list[int]:
    """Which worker makes which window of one step of a video."""
    made = made_in_turn([("video", number) for number in preferred], workers)
    return [number for _, _, number in sorted(made)]


@pytest.mark.parametrize(
    "before",
    [
        # A successor, number 4, for one whose windows went to two of the others.
        [1, 1, 2, 2, 3, 3, 1, 2],
        # The fourth has just come.
        [1, 1, 1, 2, 2, 2, 3, 3],
        # The first has been lost, number 0.
        [0, 0, 2, 2, 3, 3, 4, 4],
    ],
)
def test_after_a_loss_all_have_their_share_in_the_next_step(before):
    preferred = levelled(before, dict.fromkeys([1, 2, 3, 4], 2.0))
    made = makers(preferred, 4)
    assert set(Counter(made).values()) == {2}
    # Nobody is given another window than it had, but for those that must move.
    assert sum(was != now for was, now in zip(before, made, strict=True)) == 2


@pytest.mark.parametrize("wanted_by", [None, 1, 2])
@pytest.mark.parametrize("long_ones", [1, 3])
def test_a_long_video_does_not_starve_a_short_one(long_ones, wanted_by):
    # Those of the long ones have all been made before, as it is in every step but the first.
    asked = [(f"long {video}", 1 + window % 2) for video in range(long_ones) for window in range(40)]
    made = made_in_turn([*asked, ("short", wanted_by)], 2)
    before = [video for _, video, _ in made].index("short")
    # What two workers are at and have waiting, and a turn of each of the others.
    assert before <= 4 + 2 * long_ones


def test_slow_workers_are_left_with_fewer_windows():
    paces = {1: 1.02, 2: 1.0, 3: 2.0, 4: 1.97}
    balanced = [1, 1, 1, 2, 2, 2, 3, 4]
    assert levelled(balanced, paces) == balanced
    assert levelled([1, 1, 2, 2, 3, 3, 4, 4], paces) == [1, 1, 2, 2, 3, None, 4, None]


@settings(deadline=None)
@given(
    st.lists(st.none() | st.integers(0, 9), max_size=40),
    st.dictionaries(st.integers(0, 9), st.floats(0.95, 1.05), max_size=8),
)
def test_nobody_is_preferred_for_more_than_its_share(preferred, paces):
    found = levelled(preferred, paces)
    counts = Counter(number for number in found if number is not None)
    share = math.ceil(len(preferred) / max(len(paces), 1))
    before = Counter(number for number in preferred if number in paces)
    assert all(now in (was, None) for was, now in zip(preferred, found, strict=True))
    for number, count in before.items():
        assert min(count, share - 1) <= counts[number] <= max(share, math.ceil(1.2 * share))
        if share <= 5:
            assert counts[number] <= share


@settings(deadline=None)
@given(st.integers(1, 60), st.dictionaries(st.integers(0, 9), st.floats(0.2, 5), min_size=1, max_size=8))
def test_shares_are_enough_for_all_windows_and_end_nearly_together(windows, paces):
    found = shares(windows, paces)
    assert sum(found.values()) >= windows
    ends = sorted(count * pace for pace in paces.values() for count in range(1, windows + 1))
    best = next(end for end in ends if sum(int(end / pace + 1e-9) for pace in paces.values()) >= windows)
    assert all(count * paces[number] <= 1.1 * best + 0.25 * paces[number] + 1e-9 for number, count in found.items())


def test_windows_that_nobody_has_had_go_to_neighbours_together():
    assert blocks(8, [1, 2, 3]) == [1, 1, 1, 2, 2, 2, 3, 3]
    assert blocks(2, [1, 2, 3]) == [None, None]
    assert blocks(2, []) == [None, None]
