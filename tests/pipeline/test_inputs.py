import hashlib

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from model.artifacts import fetch, sha256
from pipeline import inputs, retries
from pipeline.inputs import MAX_BYTES, InputError, InputMissing, InputOutage, identify, local_copy, posed_video


def test_the_digest_is_of_the_contents_and_unchanged_files_are_not_read_again(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"picture")
    found = identify(str(path), "reference", {})
    assert found.sha256 == hashlib.sha256(b"picture").hexdigest()
    known = {(found.uri, found.version): "remembered"}
    assert identify(str(path), "reference", known).sha256 == "remembered"
    path.write_bytes(b"another")
    assert identify(str(path), "reference", known).sha256 == hashlib.sha256(b"another").hexdigest()


def test_faults_are_named(tmp_path, monkeypatch):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "big").write_bytes(b"x" * 11)
    monkeypatch.setitem(MAX_BYTES, "reference", 10)
    for name, reason in (
        ("none", "no such file"),
        ("empty", "0 bytes"),
        ("big", "more than the 10"),
        (".", "directory"),
    ):
        with pytest.raises(InputError, match=reason):
            identify(str(tmp_path / name), "reference", {})


def test_names_of_stores_may_be_longer_than_those_of_a_disk():
    uri = f"memory://in/a.mp4?signature={'x' * 300}"
    with fsspec.open(uri, "wb") as file:
        file.write(b"video")
    with local_copy(uri) as path:
        assert path.name == "a.mp4"
        assert path.read_bytes() == b"video"
    assert fetch(uri).name == "a.mp4"


def test_a_local_file_is_used_in_place_and_a_remote_one_goes_again(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"video")
    with local_copy(str(tmp_path / "a.mp4")) as path:
        assert path == tmp_path / "a.mp4"
    with fsspec.open("memory://in/a.mp4", "wb") as file:
        file.write(b"video")
    with local_copy("memory://in/a.mp4") as path:
        assert path.name == "a.mp4"
        assert path.read_bytes() == b"video"
    assert not path.exists()
    with local_copy("memory://in/a.mp4", 5) as path:
        assert path.read_bytes() == b"video"
    with pytest.raises(InputError, match="more than the 4 bytes"), local_copy("memory://in/a.mp4", 4):
        pass
    with pytest.raises(InputError, match="cannot be fetched"), local_copy("memory://in/none.mp4"):
        pass


@pytest.mark.parametrize(
    ("error", "expected"), [(ConnectionError("reset"), InputOutage), (PermissionError("not yours"), InputError)]
)
def test_a_store_that_does_not_answer_is_told_from_one_that_refuses(monkeypatch, error, expected):
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(retries, "PAUSES_S", ())
    for method in ("info", "get_file"):
        monkeypatch.setattr(MemoryFileSystem, method, fails)
    with pytest.raises(InputError, match="cannot be read") as identified:
        identify("memory://in/a.mp4", "driving", {})
    with pytest.raises(InputError, match="cannot be fetched") as fetched, local_copy("memory://in/a.mp4"):
        pass
    assert [identified.type, fetched.type] == [expected, expected]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MIMICMOTION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put(content: bytes) -> tuple[str, str]:
    with fsspec.open("memory://in/posed.mp4", "wb") as file:
        file.write(content)
    return "memory://in/posed.mp4", hashlib.sha256(content).hexdigest()[:20]


def count_fetched(monkeypatch):
    fetched, get_file = [], MemoryFileSystem.get_file
    monkeypatch.setattr(
        MemoryFileSystem, "get_file", lambda *given, **how: fetched.append(given) or get_file(*given, **how)
    )
    return fetched


def test_the_video_of_poses_is_fetched_and_read_for_its_digest_once_on_a_node(cache, monkeypatch):
    digested, fetched = [], count_fetched(monkeypatch)
    monkeypatch.setattr(inputs, "sha256", lambda path: digested.append(path) or sha256(path))
    posed = put(b"video")
    for _ in range(3):
        with posed_video(*posed) as path:
            assert path.read_bytes() == b"video"
            assert path.name.endswith("posed.mp4")
    assert (len(digested), len(fetched)) == (1, 1)


def test_a_remote_video_that_is_another_one_now_is_refused_and_not_kept(cache):
    uri, video_id = put(b"video")
    with posed_video(uri, video_id):
        pass
    _, other_id = put(b"other")
    for _ in range(2):
        with pytest.raises(InputError, match="no longer the file that the poses were found in"):
            posed_video(uri, video_id).__enter__()
    with posed_video(uri, other_id) as path:
        assert path.read_bytes() == b"other"
    assert len(list((cache / "videos").iterdir())) == 2


def test_where_nothing_can_be_kept_videos_are_fetched_for_each_use(cache, monkeypatch, caplog):
    cache.write_bytes(b"no folder")
    fetched, posed = count_fetched(monkeypatch), put(b"video")
    for _ in range(2):
        with posed_video(*posed) as path:
            assert path.read_bytes() == b"video"
        assert not path.exists()
    with pytest.raises(InputError, match="no longer the file"):
        posed_video(posed[0], "0" * 20).__enter__()
    assert len(fetched) == 3
    assert [record.message for record in caplog.records] == [
        "videos are fetched for each use, as none can be kept on this node: Not a directory"
    ]


def test_a_video_that_is_another_one_now_is_refused_also_after_it_was_used(tmp_path):
    path, digest = tmp_path / "a.mp4", hashlib.sha256(b"video").hexdigest()
    path.write_bytes(b"video")
    with posed_video(str(path), digest[:20]):
        pass
    path.write_bytes(b"other")
    with pytest.raises(InputError, match="no longer the file that the poses were found in"):
        posed_video(str(path), digest[:20]).__enter__()
    path.unlink()
    with pytest.raises(InputMissing, match="no such file"):
        posed_video(str(path), digest[:20]).__enter__()
