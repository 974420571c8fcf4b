from __future__ import annotations

import pytest

from pipeline.extraction import Resolved, Sampling, final_videos, fingerprint, split
from pipeline.listing import Listing, Video
from pipeline.pose_store import Kept, State, source_key
from pipeline.quarantine import Quarantined
from pipeline.storage import StorageError

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def wanted(video_id: str) -> str:
    return f"mark-{video_id[0]}"


def kept(video_id: str, *sources: tuple[str, str], mark: str | None = None, file: str = "poses/t") -> Kept:
    return Kept(video_id, mark or wanted(video_id), file, 1, sources)


def state(*videos: Kept, parts: tuple[Kept, ...] = ()) -> State:
    found = State({video.video_id: video for video in videos}, {(p.video_id, p.fingerprint): p for p in parts})
    found.by_source = {source_key(source): video.video_id for video in videos for source in video.sources}
    return found


def failed(uri: str, stage: str) -> dict[str, Quarantined]:
    return {uri: Quarantined.of(ValueError("x"), stage, uri, 1, {})}


def final(resolved: Resolved, state: State) -> dict[str, tuple[str, tuple[tuple[str, str], ...]]]:
    return {video.video_id: (video.file, video.sources) for video in final_videos(resolved, state, wanted)}


def test_what_is_as_it_was_is_not_done_again():
    before = state(kept(A, ("u", "1")), kept(B, ("v", "1"), mark="older"))
    listing = Listing([Video("u", "1", 1, {}), Video("v", "1", 2, {}), Video("w", "1", 3, {})])
    resolved, todo = split(listing, before, wanted)
    assert resolved.finished == {"u": ("1", A)}
    assert [video.uri for video in todo] == ["v", "w"]
    assert split(Listing([Video("u", "2", 1, {})]), before, wanted)[1], "another version is looked at"


def test_what_a_run_does_not_name_stays():
    before = state(kept(A, ("u", "1")), kept(B, ("v", "1"), mark="older"))
    assert final(Resolved(), before) == {A: ("poses/t", (("u", "1"),)), B: ("poses/t", (("v", "1"),))}


def test_the_rows_of_a_file_that_changed_go_even_if_it_is_now_broken():
    before = state(kept(A, ("u", "1")), parts=(kept(B, file="part"),))
    assert final(Resolved({"u": ("2", B)}), before) == {B: ("part", (("u", "2"),))}
    for stage in ("decode", "check", "worker"):
        assert final(Resolved({}, failed("u", stage)), before) == {}


def test_the_rows_of_a_file_that_could_not_be_read_this_time_stay_unless_the_settings_changed():
    for stage in ("list", "fetch"):
        assert set(final(Resolved({}, failed("u", stage)), state(kept(A, ("u", "1"))))) == {A}
        assert final(Resolved({}, failed("u", stage)), state(kept(A, ("u", "1"), mark="older"))) == {}


def test_a_video_at_several_places_is_there_once_as_long_as_one_has_it():
    before = state(kept(A, ("u", "1"), ("v", "1")), parts=(kept(B, file="part"),))
    assert final(Resolved({"u": ("2", B)}), before) == {
        A: ("poses/t", (("v", "1"),)),
        B: ("part", (("u", "2"),)),
    }
    assert final(Resolved({"w": ("1", A)}), before) == {A: ("poses/t", (("u", "1"), ("v", "1"), ("w", "1")))}


def test_rows_of_other_settings_are_replaced_and_never_kept_beside():
    before = state(kept(A, ("u", "1"), ("v", "1"), mark="older"), parts=(kept(A, file="part"),))
    assert final(Resolved({"u": ("1", A)}), before) == {A: ("part", (("u", "1"), ("v", "1")))}
    assert final(Resolved({}, failed("u", "decode")), before) == {}, "a listed video is never kept with other settings"


class Estimator:
    name, version, digest = "e", "1", "d"


def test_everything_that_decides_rows_is_in_the_fingerprint():
    marks = {
        fingerprint(A, Estimator, sampling)
        for sampling in (Sampling(), Sampling(5), Sampling(None, 2), Sampling(people=1))
    }
    Estimator.digest = "other"
    assert len(marks | {fingerprint(A, Estimator, Sampling()), fingerprint(B, Estimator, Sampling())}) == 6


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"fps": 0}, "fps is 0"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"stride": 2}, "exclude each other"),
        ({"fps": None, "stride": 0}, "stride is 0"),
        ({"people": 0}, "people is 0"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings, reason):
    with pytest.raises(ValueError, match=reason):
        Sampling(**settings)


def test_what_was_finished_and_is_not_there_is_never_left_out_in_silence():
    with pytest.raises(StorageError, match="the poses of u were written and are no longer there"):
        final(Resolved({"u": ("1", A)}), State())
