"""Tables appear whole and stay right, wherever a run dies. The points are those of docs/pose-table-crash-safety.md."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.pose_files import GROUP_ROWS
from pipeline.pose_store import (
    JOURNAL,
    Bucket,
    Kept,
    State,
    build,
    clear_parts,
    finish_publishing,
    part_name,
    publish,
    read_state,
)
from pipeline.storage import Storage, StorageError
from tests.pipeline.finished_parts import mark, sourced, video_id, write_part

LARGE = 1 << 40
OLD = [f"old-{i}" for i in range(4)]


class Killed(BaseException):
    """The process is no more."""


class DyingStorage(Storage):
    """Dies before its n-th change, and can do nothing from then on. On object stores a move is two changes."""

    changes = 0
    dies_at: int | None = None

    def _change(self) -> None:
        number, self.changes = self.changes, self.changes + 1
        if self.dies_at is not None and number >= self.dies_at:
            raise Killed

    def write(self, name: str, contents: bytes) -> None:
        self._change()
        super().write(name, contents)

    def put(self, source: Path, name: str) -> None:
        self._change()
        super().put(source, name)

    def move(self, source: str, target: str) -> None:
        self._change()
        super().move(source, target)

    def remove(self, name: str) -> None:
        self._change()
        super().remove(name)


def build_all(storage: Storage, buckets: list[Bucket]) -> None:
    for bucket in buckets:
        build(storage, bucket)


def bring(storage: Storage, wanted: dict[str, str], table_bytes: int) -> None:
    """What a run does once its videos are finished: ``wanted`` maps names to settings."""
    finish_publishing(storage)
    state = read_state(storage)
    kept = [state.finished(video_id(name), mark(name, settings)) for name, settings in wanted.items()]
    videos = [sourced(video, (f"u/{name}", "v1")) for name, video in zip(wanted, kept, strict=True) if video]
    assert len(videos) == len(wanted)
    publish(storage, state, videos, table_bytes, build_all, lambda: None)
    clear_parts(storage, [video.video_id for video in videos])


def seen(storage: Storage) -> dict[str, list[tuple[int, float]]]:
    """What a plain reader sees: of each URI, frames and a number that the settings decide."""
    found: dict[str, list[tuple[int, float]]] = {}
    for name in storage.sizes("poses"):
        with storage.open(name) as file:
            frame = pq.read_table(file).to_pandas()
        for uri, index, scores in zip(frame["uri"], frame["frame_index"], frame["scores"], strict=True):
            found.setdefault(uri, []).append((index, float(scores[0])))
    return found


@pytest.fixture(params=["local", "store"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "out")
    else:
        yield f"memory://{tmp_path.name}/out"
        fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


def prepare(uri: str, folder: Path, table_bytes: int) -> dict[str, str]:
    """An output of four videos, then parts of a new one and of one done anew; what is wanted next."""
    storage = Storage(uri)
    for name in OLD:
        write_part(storage, folder, name)
    bring(storage, dict.fromkeys(OLD, "a"), table_bytes)
    write_part(storage, folder, "new")
    write_part(storage, folder, OLD[0], "b")
    # The last of the old ones is to go.
    return {OLD[0]: "b", OLD[1]: "a", OLD[2]: "a", "new": "a"}


def copy(uri: str, target: str) -> str:
    filesystem, path = fsspec.url_to_fs(uri)
    for file in filesystem.find(path):
        filesystem.makedirs(f"{target}{file.removeprefix(path)}".rpartition("/")[0], exist_ok=True)
        filesystem.cp_file(file, f"{target}{file.removeprefix(path)}")
    return target


# One table that is replaced; one that is divided; several that are replaced; several that become one.
@pytest.mark.parametrize(("before", "after"), [(LARGE, LARGE), (LARGE, 1), (1, 1), (1, LARGE)])
def test_wherever_a_run_dies_no_row_is_seen_twice_and_the_next_run_ends_as_if_it_had_not(uri, tmp_path, before, after):
    wanted = prepare(uri, tmp_path, before)
    old = seen(Storage(uri))
    undisturbed = Storage(copy(uri, f"{uri}-undisturbed"))
    bring(undisturbed, wanted, after)
    new = seen(undisturbed)
    assert set(new) == {f"u/{name}" for name in wanted}

    deaths, died = 0, True
    while died:
        dying = DyingStorage(copy(uri, f"{uri}-{deaths}"))
        dying.dies_at = deaths
        try:
            bring(dying, wanted, after)
            died = False
        except Killed:
            deaths += 1
        store = Storage(dying.uri)
        for name, rows in seen(store).items():
            assert rows in (old.get(name), new.get(name)), "twice, or of both"
        bring(store, wanted, after)
        assert seen(store) == new
        assert set(store.sizes("poses")) == set(undisturbed.sizes("poses"))
        with store.open("videos.parquet") as file:
            assert set(pq.read_table(file)["uri"].to_pylist()) == set(new)
        assert not store.sizes("_parts")
    assert deaths >= 7, "every change was a point to die at"


def test_a_run_with_nothing_new_writes_no_table(uri, tmp_path):
    wanted = prepare(uri, tmp_path, 1)
    bring(Storage(uri), wanted, 1)
    counting = DyingStorage(uri)
    bring(counting, wanted, 1)
    assert counting.changes == 1, "videos.parquet alone"


def test_tables_hold_many_videos_sorted_and_say_what_they_hold(tmp_path):
    storage = Storage(str(tmp_path / "out"))
    for name in OLD:
        write_part(storage, tmp_path, name)
    bring(storage, dict.fromkeys(OLD, "a"), LARGE)
    assert list(storage.sizes("poses")) == ["poses/bucket-all.parquet"]
    table = pd.read_parquet(tmp_path / "out" / "poses")
    keys = list(zip(table["video_id"], table["frame_index"], strict=True))
    assert keys == sorted(keys)
    facts = read_state(storage)
    assert set(facts.videos) == {video_id(name) for name in OLD}
    assert pd.read_parquet(tmp_path / "out" / "videos.parquet")["table"].unique() == ["poses/bucket-all.parquet"]


def test_a_video_longer_than_row_groups_is_carried_whole(tmp_path):
    storage = Storage(str(tmp_path / "out"))
    write_part(storage, tmp_path, "long", frames=GROUP_ROWS * 2 + 10)
    write_part(storage, tmp_path, "short")
    bring(storage, {"long": "a", "short": "a"}, LARGE)
    write_part(storage, tmp_path, "more")
    bring(storage, {"long": "a", "short": "a", "more": "a"}, LARGE)
    file = pq.ParquetFile(tmp_path / "out" / "poses" / "bucket-all.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [GROUP_ROWS, GROUP_ROWS, 20]
    frames = {uri: [index for index, _ in rows] for uri, rows in seen(storage).items()}
    assert frames["u/long"] == list(range(GROUP_ROWS * 2 + 10))
    assert frames["u/short"] == frames["u/more"] == list(range(5))


def test_small_parts_are_fetched_at_once_and_large_ones_never_whole(tmp_path, monkeypatch):
    storage = Storage(str(tmp_path / "out"))
    for name in [*OLD, "long"]:
        write_part(storage, tmp_path, name, frames=GROUP_ROWS if name == "long" else 5)
    together = threading.Barrier(len(OLD))
    fetched = []

    def read(name: str) -> bytes | None:
        if name.startswith("_parts") and name != JOURNAL:
            fetched.append(name)
            together.wait(timeout=30)
        return Storage.read(storage, name)

    monkeypatch.setattr(storage, "read", read)
    bring(storage, dict.fromkeys([*OLD, "long"], "a"), LARGE)
    assert sorted(fetched) == sorted(part_name(video_id(name), mark(name), (f"u/{name}", "v1")) for name in OLD)
    assert {uri: len(rows) for uri, rows in seen(storage).items()} == {
        **dict.fromkeys((f"u/{name}" for name in OLD), 5),
        "u/long": GROUP_ROWS,
    }


def test_an_output_without_videos_is_an_empty_table(tmp_path):
    storage = Storage(str(tmp_path / "out"))
    publish(storage, read_state(storage), [], LARGE, build_all, lambda: None)
    assert len(pd.read_parquet(tmp_path / "out" / "poses")) == 0
    assert len(pd.read_parquet(tmp_path / "out" / "videos.parquet")) == 0


def test_tables_of_others_are_not_mixed_with(tmp_path):
    storage = Storage(str(tmp_path))
    storage.write("poses/0123.parquet", b"")
    with pytest.raises(StorageError, match=r"did not write \(poses/0123\.parquet\)"):
        read_state(storage)


def test_nothing_is_put_in_place_once_the_output_is_lost(tmp_path):
    wanted = prepare(str(tmp_path / "out"), tmp_path, LARGE)
    storage = Storage(str(tmp_path / "out"))
    before = seen(storage)
    state: State = read_state(storage)
    kept: list[Kept] = [sourced(state.videos[video_id(name)], (f"u/{name}", "v1")) for name in OLD[2:3]]

    def lost() -> None:
        raise StorageError("taken")

    with pytest.raises(StorageError, match="taken"):
        publish(storage, state, kept, LARGE, build_all, lost)
    assert seen(storage) == before
    bring(storage, wanted, LARGE)
