import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from model.artifacts import ArtifactError, cache_root, exists, fetch, join, open_filesystem, sha256, version_of


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MIMICMOTION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bucket() -> Iterator[str]:
    """A folder of a store that is not this machine's disk."""
    folder = f"memory://bucket-{uuid.uuid4().hex}"
    yield folder
    filesystem, path = fsspec.url_to_fs(folder)
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)


@pytest.fixture
def downloads(monkeypatch) -> list[str]:
    """What has been downloaded."""
    paths: list[str] = []
    whole = MemoryFileSystem.get_file

    def counted(self, rpath, lpath, *args, **kwargs):
        paths.append(rpath)
        return whole(self, rpath, lpath, *args, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "get_file", counted)
    return paths


def put(uri: str, content: bytes) -> str:
    with fsspec.open(uri, "wb") as file:
        file.write(content)
    return uri


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_local_file_is_used_where_it_lies(tmp_path, cache, prefix):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"weights")
    assert fetch(f"{prefix}{path}") == path
    assert not cache.exists()


def test_a_remote_file_is_downloaded_once_and_known_by_its_digest(bucket, cache, downloads):
    uri = put(f"{bucket}/weights.safetensors", b"weights")
    local = fetch(uri)
    assert local.read_bytes() == b"weights"
    assert local == cache / "objects" / hashlib.sha256(b"weights").hexdigest() / "weights.safetensors"
    assert fetch(uri) == local
    assert len(downloads) == 1
    assert not list(cache.glob("fetch-*")), "scratch is left behind"


def test_two_files_of_one_name_do_not_get_in_each_others_way(bucket):
    first, second = put(f"{bucket}/a/model.bin", b"first"), put(f"{bucket}/b/model.bin", b"other")
    assert [fetch(uri).read_bytes() for uri in (first, second, first)] == [b"first", b"other", b"first"]


@pytest.mark.parametrize("content", [b"longer than before", b"otherss"], ids=["another size", "the same size"])
def test_a_remote_file_that_has_changed_is_fetched_anew(bucket, downloads, content):
    uri = put(f"{bucket}/weights.bin", b"weights")
    before = fetch(uri)
    put(uri, content)
    after = fetch(uri)
    assert after.read_bytes() == content
    assert before.read_bytes() == b"weights"
    assert len(downloads) == 2


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"we")])
def test_a_damaged_cache_is_mended(bucket, downloads, damage):
    uri = put(f"{bucket}/weights.bin", b"weights")
    damage(fetch(uri))
    assert fetch(uri).read_bytes() == b"weights"
    assert len(downloads) == 2


def test_another_digest_than_expected_is_refused(tmp_path, bucket):
    (tmp_path / "weights.bin").write_bytes(b"weights")
    right, wrong = hashlib.sha256(b"weights").hexdigest(), hashlib.sha256(b"x").hexdigest()
    for uri in (str(tmp_path / "weights.bin"), put(f"{bucket}/weights.bin", b"weights")):
        fetch(uri, right)
        with pytest.raises(ArtifactError, match=f"SHA-256 is {right}, expected {wrong}") as caught:
            fetch(uri, wrong)
        assert uri in str(caught.value)


def test_a_missing_file_is_named(tmp_path, bucket):
    for uri in (f"{bucket}/nowhere.bin", str(tmp_path / "nowhere.bin"), str(tmp_path)):
        with pytest.raises(ArtifactError, match="no such file") as caught:
            fetch(uri)
        assert uri in str(caught.value)


def test_a_failed_download_is_named_and_leaves_nothing(bucket, cache, monkeypatch):
    uri = put(f"{bucket}/weights.bin", b"weights")

    def broken(self, rpath, lpath, *args, **kwargs):
        Path(lpath).write_bytes(b"we")
        raise ConnectionResetError("connection reset")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "get_file", broken)
        with pytest.raises(ArtifactError, match=r"download failed .*connection reset") as caught:
            fetch(uri)
    assert uri in str(caught.value)
    assert not [path for path in cache.rglob("*") if path.is_file()]
    assert fetch(uri).read_bytes() == b"weights"


def test_a_store_that_cannot_be_reached_is_named(bucket, monkeypatch):
    def refused(self, path, **kwargs):
        raise PermissionError("access denied")

    monkeypatch.setattr(MemoryFileSystem, "info", refused)
    with pytest.raises(ArtifactError, match=r"cannot be reached .*access denied"):
        fetch(f"{bucket}/weights.bin")


def test_an_unknown_protocol_is_named_with_what_may_be_missing():
    with pytest.raises(ArtifactError, match=r"nosuch://bucket/x: .*pip install") as caught:
        open_filesystem("nosuch://bucket/x")
    assert "s3" in str(caught.value)


def test_a_path_with_two_colons_is_the_file_of_that_name(tmp_path, monkeypatch):
    for name in ("Re", "Re::Zero.mp4"):
        (tmp_path / name).write_text(name)
    for uri in (str(tmp_path / "Re::Zero.mp4"), f"{tmp_path}/./Re::Zero.mp4"):
        assert fetch(uri).read_text() == "Re::Zero.mp4"
    monkeypatch.chdir(tmp_path)
    assert fetch("Re::Zero.mp4").read_text() == "Re::Zero.mp4"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetch("~/Re::Zero.mp4").read_text() == "Re::Zero.mp4"


@pytest.mark.parametrize("name", ["cam::a.mp4", "cam::file:///etc/hostname", "a::b::c"])
def test_an_object_with_two_colons_is_the_one_of_that_name(name):
    """Whoever may write into a bucket would else decide which file is read."""
    for protocol, kind in (("s3", "S3FileSystem"), ("https", "HTTPFileSystem")):
        filesystem, path = open_filesystem(f"{protocol}://data/{name}")
        assert type(filesystem).__name__ == kind
        assert path.removeprefix("https://") == f"data/{name}"


def test_cache_lies_where_the_environment_says(tmp_path, monkeypatch):
    assert cache_root() == tmp_path / "cache"
    monkeypatch.delenv("MIMICMOTION_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "mimicmotion"


def test_exists_tells_files_from_nothing_and_from_folders(tmp_path, bucket):
    (tmp_path / "x").write_bytes(b"")
    assert exists(str(tmp_path / "x"))
    assert not exists(str(tmp_path))
    assert not exists(f"{bucket}/x")
    assert exists(put(f"{bucket}/x", b"1"))


def test_join_does_not_double_the_slash():
    assert join("s3://bucket/svd/", "vae/config.json") == join("s3://bucket/svd", "vae/config.json")
    assert join("a", "b") == "a/b"


def test_sha256_reads_the_whole_file(tmp_path):
    content = bytes(range(256)) * 20_000
    (tmp_path / "x").write_bytes(content)
    assert sha256(tmp_path / "x") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["ETag", "Last-Modified", "LastModified", "mtime", "generation"])
def test_a_file_of_the_same_size_may_be_another(name):
    versions = {version_of({"size": 5, name: value}) for value in ("Wed, 25 Nov 2026", "Thu, 26 Nov 2026")}
    assert len(versions) == 2
