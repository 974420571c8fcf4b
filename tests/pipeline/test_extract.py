"""How the videos of an extraction are dealt out."""

from pathlib import Path

import pytest
import ray

from model.estimators.selection import EstimatorChoice
from pipeline.extract import _pass, _without_gone, fair_share
from pipeline.extraction import Request, Sampling
from pipeline.listing import Video
from pipeline.pose_store import Kept
from pipeline.resources import PoseResources
from pipeline.storage import Storage
from pipeline.tasks import unpack


@pytest.mark.parametrize(
    ("videos", "workers", "share"), [(1, 1, 1), (2, 2, 1), (2, 1, 2), (3, 2, 2), (4, 4, 1), (100, 2, 2)]
)
def test_no_worker_takes_a_second_video_in_hand_where_another_would_have_none(videos, workers, share):
    assert fair_share(videos, workers, at_once=2) == share
    assert fair_share(videos, workers, at_once=1) == 1


class Dealt(Exception):
    """Ray Data has been given the videos."""


def test_the_largest_come_first_so_that_at_the_end_nobody_waits_long_and_equals_as_they_are_listed(
    monkeypatch, tmp_path
):
    given = []

    def from_items(items, **_):
        given.extend(unpack(item["packed"]).uri for item in items)
        raise Dealt

    monkeypatch.setattr(ray.data, "from_items", from_items)
    monkeypatch.setattr(PoseResources, "of", staticmethod(lambda *_: PoseResources(2, 1.0, 0.0, 1)))
    sizes = {"a": 5, "b": 90, "unknown": 0, "c": 5, "d": 700}
    unfinished = {uri: Video(uri, "1", line, {}, size) for line, (uri, size) in enumerate(sizes.items(), start=1)}
    request = Request("clips", str(tmp_path), EstimatorChoice("holistic"), Sampling(15), workers=2)
    with pytest.raises(Dealt):
        list(_pass(request, unfinished, Storage(str(tmp_path)), "ledger", 2))
    assert given == ["d", "b", "a", "c", "unknown"]


def test_of_a_video_that_was_moved_the_old_name_goes(tmp_path):
    there, unlisted, gone = (str(tmp_path / name) for name in ("z.mp4", "m.mp4", "a.mp4"))
    for path in (there, unlisted):
        Path(path).write_bytes(b"video")

    def kept(name: str, *uris: str) -> Kept:
        return Kept(name, "mark", f"poses/{name}.parquet", 1, tuple((uri, "1") for uri in sorted(uris)))

    final = [kept("moved", there, gone), kept("copied", there, unlisted), kept("lost", gone), kept("one", there)]
    expected = [kept("moved", there), *final[1:]]
    assert _without_gone(final, {there}) == expected
    # One that this run has found wanting is not asked for again.
    assert _without_gone(final, {there, gone}) == final
    both = [kept("both", gone, str(tmp_path / "b.mp4"))]
    assert _without_gone(both, {there}) == both
