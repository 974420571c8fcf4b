from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest

from pipeline.catalog_file import CatalogError
from pipeline.listing import COLUMNS, ListingError, list_videos
from pipeline.quarantine import to_parquet


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "b.mp4",
        "a.mkv",
        "deep/c.mp4",
        "deep/.hidden.mp4",
        "_part/d.mp4",
        "notes.txt",
        "poster.jpg",
        "list.m3u8",
    ):
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video")
    (tmp_path / "clips" / "empty.mp4").write_bytes(b"")
    return tmp_path / "clips"


def names(videos: str, folder: Path) -> list[str]:
    return [os.path.relpath(video.uri, folder) for video in list_videos(videos).videos]


def test_a_folder_gives_everything_below_it_that_may_be_a_video(folder):
    listing = list_videos(str(folder))
    assert [os.path.relpath(video.uri, folder) for video in listing.videos] == [
        "a.mkv",
        "b.mp4",
        "deep/c.mp4",
        "list.m3u8",
    ]
    assert listing.left_out == 4
    (empty,) = listing.failed
    assert (empty.id, empty.stage) == (str(folder / "empty.mp4"), "check")
    assert "0 bytes" in empty.message


def test_a_glob_a_prefix_and_one_file(folder):
    assert names(f"{folder}/*.mp4", folder) == ["b.mp4"]
    assert names(f"{folder}/*/c.*", folder) == ["deep/c.mp4"]
    assert names(f"{folder}/de", folder) == ["deep/c.mp4"]
    assert names(f"{folder}/notes.txt", folder) == ["notes.txt"], "what is named is looked into"


@pytest.mark.parametrize("name", ["dance [9aBc].mp4", "who is it?.mp4", "*.mp4"])
def test_what_has_just_that_name_is_no_glob(folder, name):
    (folder / "deep" / name).write_bytes(b"video")
    (folder / f"{name} and more").mkdir()
    (folder / f"{name} and more" / "e.mp4").write_bytes(b"video")
    (folder / f"{name}.csv").write_text("uri\ndeep/c.mp4\n")

    assert names(f"{folder}/deep/{name}", folder) == [f"deep/{name}"]
    assert names(f"{folder}/{name} and more", folder) == [f"{name} and more/e.mp4"]
    assert names(f"{folder}/{name}.csv", folder) == ["deep/c.mp4"]


def test_a_name_may_begin_with_an_underscore_and_end_a_prefix_with_an_extension(folder):
    (folder / "_9aBcDeFgHi.mp4").write_bytes(b"video")
    (folder / ".part.mp4").write_bytes(b"video")
    assert names(str(folder), folder) == ["_9aBcDeFgHi.mp4", "a.mkv", "b.mp4", "deep/c.mp4", "list.m3u8"]
    assert names(f"{folder}/b", folder) == ["b.mp4"]
    assert names(f"{folder}/_9", folder) == ["_9aBcDeFgHi.mp4"]


def test_links_are_what_they_lead_to(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name, target in {"linked.mp4": folder / "b.mp4", "lost.mp4": "nothing.mp4"}.items():
        (elsewhere / name).symlink_to(target)

    for videos in (elsewhere, elsewhere / "*.mp4", elsewhere / "l"):
        listing = list_videos(str(videos))
        assert [Path(video.uri).name for video in listing.videos] == ["linked.mp4"]
        (failed,) = listing.failed
        assert failed.message.endswith("lost.mp4 is a link to nothing, expected a file")
    (direct,) = list_videos(str(folder / "b.mp4")).videos
    assert listing.videos[0].version == direct.version


def test_linked_folders_are_searched_each_once(folder, tmp_path):
    other = tmp_path / "other disk"
    (other / "inside").mkdir(parents=True)
    (other / "inside" / "f.mp4").write_bytes(b"video")
    for name, target in {"up": folder, "top": tmp_path, "same": folder / "deep", "self": "self"}.items():
        (other / name).symlink_to(target)
    (folder / "linked").symlink_to(other)
    (folder / "twice").symlink_to(other / "inside")

    listing = list_videos(str(folder))

    found = [os.path.relpath(video.uri, folder) for video in listing.videos]
    assert found == ["a.mkv", "b.mp4", "deep/c.mp4", "linked/inside/f.mp4", "list.m3u8"]
    assert [Path(failed.id).name for failed in listing.failed] == ["empty.mp4", "self"]
    assert names(f"{folder}/lin", folder) == ["linked/inside/f.mp4"]


def test_the_output_in_a_folder_of_videos_is_none_of_them(folder):
    (folder / "deep" / "poses" / "inspection").mkdir(parents=True)
    (folder / "deep" / "poses" / "inspection" / "01-a.mp4").write_bytes(b"overlay")
    (folder / "deep" / "poses.mp4").write_bytes(b"video")
    found = [video.uri for video in list_videos(str(folder), str(folder / "deep" / "poses")).videos]
    assert str(folder / "deep" / "poses.mp4") in found
    assert str(folder / "deep" / "poses" / "inspection" / "01-a.mp4") not in found
    # Where videos and tables share a folder there are videos nevertheless.
    assert len(list_videos(str(folder), str(folder)).videos) == len(list_videos(str(folder)).videos)


def test_a_folder_that_cannot_be_looked_into_is_one_row_of_the_quarantine(folder, monkeypatch):
    (folder / "deep" / "locked" / "in").mkdir(parents=True)
    (folder / ".locked").mkdir()
    # Root may look into every folder.
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: may(path, mode) and not str(path).endswith("locked"))
    closed = [entry for entry in list_videos(str(folder)).failed if entry.stage == "list"]
    assert [entry.id for entry in closed] == [str(folder / "deep" / "locked")]
    assert "cannot be listed (permission denied)" in closed[0].message
    with pytest.raises(ListingError, match="cannot be listed"):
        list_videos(str(folder / "deep" / "locked"))


def test_a_store_gives_uris(tmp_path):
    filesystem = fsspec.filesystem("memory")
    for name in ("2024-01/a.mp4", "2024-02/b.mp4", "2025-01/c.mp4"):
        filesystem.pipe_file(f"/{tmp_path.name}/{name}", b"video")
    root = f"memory://{'/' if str(filesystem.unstrip_protocol('/x')).startswith('memory:///') else ''}{tmp_path.name}"
    found = [video.uri.rpartition(tmp_path.name)[2] for video in list_videos(f"{root}/2024").videos]
    assert found == ["/2024-01/a.mp4", "/2024-02/b.mp4"]
    for video in list_videos(root).videos:
        assert filesystem.cat_file(video.uri) == b"video"


@pytest.mark.parametrize("column", ["uri", "video", "driving"])
def test_a_catalog_names_videos_in_one_of_three_columns(folder, column):
    catalog = folder / "catalog.csv"
    catalog.write_text(f"id,{column}\n1,b.mp4\n2,{folder}/a.mkv\n3,none.mp4\n4,\n5,b.mp4\n6,empty.mp4\n")
    listing = list_videos(str(catalog))
    assert [os.path.relpath(video.uri, folder) for video in listing.videos] == ["b.mp4", "a.mkv"]
    assert listing.videos[0].row == {"id": "1", column: str(folder / "b.mp4"), "uri": str(folder / "b.mp4")}
    assert {(entry.line, entry.stage) for entry in listing.failed} == {(3, "list"), (4, "list"), (6, "check")}


def test_each_video_has_its_size_unless_its_store_does_not_answer(folder, monkeypatch):
    (folder / "b.mp4").write_bytes(b"a longer video")
    catalog = folder / "catalog.csv"
    catalog.write_text("uri\nb.mp4\na.mkv\n")
    assert [video.size_bytes for video in list_videos(f"{folder}/*.m*").videos] == [5, 14, 5]
    assert [video.size_bytes for video in list_videos(str(catalog)).videos] == [14, 5]

    def busy(*_arguments, **_options):
        raise OSError("503 Slow Down")

    monkeypatch.setattr("pipeline.listing.info_at", busy)
    assert [(video.version, video.size_bytes) for video in list_videos(str(catalog)).videos] == [("", 0)] * 2


@pytest.mark.parametrize("column", ["uri", "video", "driving"])
def test_the_quarantine_of_a_catalog_is_a_catalog_of_what_failed(folder, tmp_path, column):
    catalog = folder / "catalog.csv"
    catalog.write_text(f"{column}\nlate.mp4\nb.mp4\nlater://a.mp4\n")
    failed = list_videos(str(catalog)).failed
    (tmp_path / "quarantine.parquet").write_bytes(to_parquet(failed, COLUMNS[:1]))
    (folder / "late.mp4").write_bytes(b"video")
    again = list_videos(str(tmp_path / "quarantine.parquet"))
    assert [video.uri for video in again.videos] == [str(folder / "late.mp4")]
    assert [entry.id for entry in again.failed] == ["later://a.mp4"], "its protocol is still unknown"


def test_a_name_that_is_no_utf8_is_one_row_of_the_quarantine(tmp_path):
    for name in (b"caf\xe9.mp4", b"tea.mp4"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"video")
    for videos in (str(tmp_path), f"{tmp_path}/*.mp4"):
        listing = list_videos(videos)
        assert [video.uri for video in listing.videos] == [f"{tmp_path}/tea.mp4"]
        (failed,) = listing.failed
        assert (failed.id, failed.stage) == (rf"{tmp_path}/caf\udce9.mp4", "check")
        assert failed.message == rf"video {tmp_path}/caf\udce9.mp4: its path is not UTF-8, which tables need; rename it"
        assert to_parquet([failed], COLUMNS[:1])
    assert not list_videos(str(tmp_path / os.fsdecode(b"caf\xe9.mp4"))).videos

    strange = tmp_path / os.fsdecode(b"caf\xe9")
    strange.mkdir()
    (strange / "catalog.csv").write_text(f"uri\na.mp4\n{tmp_path}/tea.mp4\n")
    listing = list_videos(str(strange / "catalog.csv"))
    assert [video.uri for video in listing.videos] == [f"{tmp_path}/tea.mp4"]
    assert [entry.id for entry in listing.failed] == ["a.mp4"]


def test_half_a_character_in_a_catalog_is_one_row_of_the_quarantine(folder):
    catalog = folder / "catalog.jsonl"
    catalog.write_text('{"uri": "a\\ud800.mp4"}\n{"uri": "b.mp4"}\n{"uri": "a.mkv", "note": "\\udfff"}\n')
    listing = list_videos(str(catalog))
    assert [video.uri for video in listing.videos] == [str(folder / "b.mp4")]
    assert [(entry.line, entry.message.partition(":")[0]) for entry in listing.failed] == [(1, "row 1"), (3, "row 3")]
    assert to_parquet(listing.failed, COLUMNS[:1])


def test_what_names_no_videos_is_refused(folder, tmp_path):
    for videos, reason in (
        (tmp_path / "nowhere", "no such file, folder or prefix"),
        (f"{folder}/*.webm", "no such file"),
        ("nosuch://bucket/x", "nosuch"),
    ):
        with pytest.raises(ValueError, match=reason):
            list_videos(str(videos))
    (folder / "c.csv").write_text("name\nx\n")
    with pytest.raises(ListingError, match="no column uri, video or driving; it has name"):
        list_videos(str(folder / "c.csv"))
    with pytest.raises(CatalogError, match="no such file"):
        list_videos(str(folder / "none.csv"))


def test_a_file_that_changes_has_another_version(folder):
    before = list_videos(str(folder / "b.mp4")).videos[0].version
    assert list_videos(str(folder / "b.mp4")).videos[0].version == before
    (folder / "b.mp4").write_bytes(b"other")
    os.utime(folder / "b.mp4", (1, 1))
    assert list_videos(str(folder / "b.mp4")).videos[0].version != before
